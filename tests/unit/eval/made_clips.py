"""Face clips made of arrays, and tiny lossless videos, for the metrics' tests."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import SAMPLES_PER_FRAME, FaceClip
from eval.face_geometry import FaceGeometry
from eval.pairs import Pair
from latentsync.media.ffmpeg_tools import find_tool

SIZE = 64
ANCHORS = np.array([[40.0, 30], [80, 30], [60, 52]], dtype=np.float32)
BOX = np.array([20.0, 10, 100, 110], dtype=np.float32)


def textured(num_frames: int, size: int = SIZE, seed: int = 0, moving: float = 1.0) -> np.ndarray:
    """(num_frames, size, size, 3) uint8 smooth images that drift from frame to frame."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size * 2 * np.pi
    waves = rng.uniform(-3, 3, (6, 2))
    phases = rng.uniform(0, 6, (6, 3)) + moving * rng.uniform(0.1, 0.5, (num_frames, 6, 1))
    inner = waves[:, 0, None, None] * rows + waves[:, 1, None, None] * columns
    pictures = np.sin(inner[None, :, None] + phases[..., None, None]).sum(axis=1)
    return (127.5 + 20 * pictures.transpose(0, 2, 3, 1)).clip(0, 255).astype(np.uint8)


def clip_of(crops: np.ndarray, valid: np.ndarray | None = None) -> FaceClip:
    """A face clip of these crops."""
    shown = np.ones(len(crops), bool) if valid is None else valid
    return FaceClip(crops, shown, np.zeros((len(crops), 2, 3), np.float32))


def geometry_of(num_frames: int, missing: tuple[int, ...] = (), cuts: tuple[int, ...] = ()) -> FaceGeometry:
    """One face at rest at `BOX`, absent in some frames."""
    anchors = np.tile(ANCHORS, (num_frames, 1, 1))
    anchors[list(missing)] = np.nan
    rows = [[i, *BOX, 0.99, *ANCHORS.ravel()] for i in range(num_frames) if i not in missing]
    return FaceGeometry(anchors, np.array(rows, np.float32).reshape(-1, 12), np.array(cuts, np.int32))


class MadeClips:
    """Stands in for `FaceClips`: everything is given by file name."""

    device = torch.device("cpu")
    resolution = SIZE
    detector_name = "told"

    def __init__(self, crops=None, frames=None, geometry=None, samples=None) -> None:
        self._crops, self._frames = crops or {}, frames or {}
        self._geometry, self._samples = geometry or {}, samples or {}

    def crops(self, video: Path, like: Path | None = None) -> FaceClip:
        return self._crops[video.name]

    def of_result(self, pair: Pair) -> FaceClip:
        return self.crops(pair.result)

    def of_reference(self, pair: Pair) -> FaceClip:
        return self.crops(pair.reference_or_source)

    def geometry(self, video: Path) -> FaceGeometry:
        return self._geometry[video.name]

    def samples(self, audio: Path, video: Path, num_frames: int | None = None) -> np.ndarray:
        sound = self._samples[audio.name]
        if num_frames is None:
            return sound
        wanted = np.zeros(num_frames * SAMPLES_PER_FRAME, np.float32)
        length = min(len(wanted), len(sound))
        wanted[:length] = sound[:length]
        return wanted

    @contextmanager
    def frames(self, video: Path) -> Iterator[Iterator[np.ndarray]]:
        yield iter(self._frames[video.name])


def pair_of(reference: str | None = "reference") -> Pair:
    """A pair whose files exist by name only."""
    return Pair("one", Path("result"), Path("source"), Path("audio"), Path(reference) if reference else None)


def record_of(folder: Path, settings: object) -> Path:
    """Write the record of a generation."""
    path = folder / "record.json"
    path.write_text(json.dumps({"settings": settings}))
    return path


def write_video(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    """A lossless video of uint8 RGB frames (n, h, w, 3)."""
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "pipe:0"]
    command = [find_tool("ffmpeg"), "-v", "error", "-y", *raw, "-c:v", "ffv1", "-pix_fmt", "bgr0", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path
