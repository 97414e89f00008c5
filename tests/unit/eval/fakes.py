"""Tiny videos of one grey level and metrics of that level, so that every value is known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from demo.synthetic.speech import write_wav
from eval.face_clips import FaceClips
from eval.frechet import FeatureStatistics
from eval.metrics.metric import LoadedMetric, LoadedSetMetric, Metric, Quantity, SetMetric, SetValues
from eval.pairs import Pair
from latentsync.errors import NotMeasured
from latentsync.face.detection import Detection
from latentsync.media.writer import VideoWriter

SIZE, NUM_FRAMES = 64, 4
_LEVELS: dict[str, np.ndarray] = {}


class CentralFace:
    """A detector that finds one face in the middle of every frame."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        scale = frames[0].shape[0] / SIZE
        box = np.array([12, 8, 52, 60], dtype=np.float32) * scale
        anchors = np.array([[22, 22], [42, 22], [32, 34]], dtype=np.float32) * scale
        return [[Detection(box, 0.99, anchors)] for _ in frames]


def grey_video(path: Path, level: int, num_frames: int = NUM_FRAMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, SIZE, SIZE, Fraction(25), crf=0) as writer:
        for _ in range(num_frames):
            writer.write(np.full((SIZE, SIZE, 3), level, dtype=np.uint8))
    return path


def hum(path: Path, hertz: float = 220.0, seconds: float = 0.2) -> Path:
    write_wav(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000))
    return path


def open_clips(cache: Path) -> FaceClips:
    return FaceClips(cache, resolution=64, detector=CentralFace(), detector_name="central")


def level_of(clips: FaceClips, video: Path) -> np.ndarray:
    """(n, 3) mean colour of every frame; equal files are decoded once per test session."""
    key = clips.content_key(video)
    if key not in _LEVELS:
        with clips.frames(video) as frames:
            _LEVELS[key] = np.stack([frame.mean(axis=(0, 1)) for frame in frames])
    return _LEVELS[key]


class Brightness(Metric):
    """Mean grey level, and its distance from the source's."""

    name = "brightness"
    quantities = (Quantity("level", "grey levels", True, "mean"), Quantity("apart", "", False, "from the source", 0.0))
    description = "how bright"
    protocol = "Published ones are in candela."

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.num_calls = self.num_loads = 0

    def load(self, device: torch.device) -> LoadedMetric:
        self.num_loads += 1
        return self._measure

    def _measure(self, pair: Pair, clips: FaceClips) -> dict[str, float]:
        self.num_calls += 1
        level = float(level_of(clips, pair.result).mean())
        return {"level": level, "apart": abs(level - float(level_of(clips, pair.source).mean()))}


class Refusing(Metric):
    """Measures no video."""

    name = "refusing"
    quantities = (Quantity("refused", "", True, "never"),)
    description = "nothing"
    protocol = "None."

    def load(self, device: torch.device) -> LoadedMetric:
        return self._measure

    def _measure(self, pair: Pair, clips: FaceClips) -> dict[str, float]:
        raise NotMeasured("it does not like it")


class Broken(Refusing):
    """Raises an unexpected error."""

    name = "broken"
    quantities = (Quantity("broken_figure", "", True, "never"),)

    def _measure(self, pair: Pair, clips: FaceClips) -> dict[str, float]:
        raise ZeroDivisionError("a fault in the metric")


class Infinite(Refusing):
    """Returns a value that is not finite."""

    name = "infinite"
    quantities = (Quantity("endless", "", True, "never"),)

    def _measure(self, pair: Pair, clips: FaceClips) -> dict[str, float]:
        return {"endless": float("inf")}


class Weightless(Refusing):
    """Has missing weights."""

    name = "weightless"
    quantities = (Quantity("weighed", "", True, "never"),)

    def weights(self) -> list[Path]:
        return [Path("/nowhere/judge.pt")]


class Recorded(Metric):
    """Reads only the record of the generation."""

    name = "recorded"
    quantities = (Quantity("has_record", "", True, "1 where there is one", None, ("report",)),)
    description = "whether there is a record"
    protocol = "None."

    def load(self, device: torch.device) -> LoadedMetric:
        return lambda pair, clips: {"has_record": float(pair.report is not None and pair.report.is_file())}


class Colours(SetMetric):
    """Distance of mean colours over the set."""

    name = "colours"
    quantities = (Quantity("colour_distance", "", False, "of the means"),)
    description = "a set metric"
    protocol = "None."

    def __init__(self) -> None:
        self.num_calls = 0

    def load(self, device: torch.device) -> LoadedSetMetric:
        return LoadedColours(self)


class LoadedColours:
    """Three features per frame: the mean colour."""

    num_features = 3

    def __init__(self, metric: Colours) -> None:
        self._metric = metric

    def features(self, pair: Pair, clips: FaceClips) -> tuple[np.ndarray, np.ndarray]:
        self._metric.num_calls += 1
        return level_of(clips, pair.result), level_of(clips, pair.reference or pair.source)

    def values(self, generated: FeatureStatistics, real: FeatureStatistics) -> SetValues:
        distance = float(np.abs(generated.mean - real.mean).mean())
        counts = (generated.num_samples, real.num_samples)
        return SetValues({"colour_distance": distance}, *counts, "too few samples" if counts[0] < 100 else None)


def grey_pairs(folder: Path, levels: Sequence[int], row: str = "model", source_level: int = 100) -> list[Pair]:
    """Pairs whose results have these levels."""
    folder.mkdir(parents=True, exist_ok=True)
    source = grey_video(folder / "source.mp4", source_level)
    audio = hum(folder / "speech.wav")
    return [
        Pair(f"video{number}", grey_video(folder / f"{row}{number}.mp4", level), source, audio, source, row=row)
        for number, level in enumerate(levels)
    ]
