"""Sync of the followed face with the driving audio, before and after: two scores of one scorer on the same frames."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.face.align import crop_faces
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.pipelines.lipsync_job import LipsyncJob
from latentsync.pipelines.people import Person
from latentsync.pipelines.windows import FaceInterval
from latentsync.weights import REPOSITORY_ROOT

FRAMES_PER_SECOND = 25
MAX_SECONDS = 10
"""The longest uninterrupted interval with the face is scored, up to this length."""

_MAX_CROP = 256
_SYNCNET_V2 = "checkpoints/auxiliary/syncnet_v2.model"
_DEMO_SYNCNET = "checkpoints/demo/stable_syncnet.pt"
_DEMO_CONFIG = "configs/demo/syncnet.yaml"


@dataclass(frozen=True)
class NamedSyncScorer:
    """A sync scorer for aligned crops and its name for the page."""

    name: str
    scorer: SyncScorer


@dataclass(frozen=True)
class SyncComparison:
    """Sync scores before and after.

    Attributes:
        scorer: name of the scorer.
        before: score of the source video with the driving audio; None if it was not measured.
        after: score of the result; None if it was not measured.
        reason: why it was not measured.
    """

    scorer: str
    before: SyncScore | None = None
    after: SyncScore | None = None
    reason: str = ""

    def record(self) -> dict[str, Any]:
        """Return the comparison as JSON."""
        return {**asdict(self), "before": _score_record(self.before), "after": _score_record(self.after)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "SyncComparison":
        """Return the comparison of a `record`."""
        scores = {name: None if record[name] is None else SyncScore(**record[name]) for name in ("before", "after")}
        return cls(record["scorer"], **scores, reason=record["reason"])


def _score_record(score: SyncScore | None) -> dict[str, Any] | None:
    """Return a score as JSON, in Python's own numbers."""
    if score is None:
        return None
    return {"offset": int(score.offset), "confidence": float(score.confidence), "distance": float(score.distance)}


def load_scorer(device: torch.device, root: Path = REPOSITORY_ROOT) -> NamedSyncScorer | None:
    """Load SyncNet-v2 if its weights are present, else the demo SyncNet; return None if both are missing."""
    if (root / _SYNCNET_V2).is_file():
        scorer = SyncNetV2Scorer(load_syncnet_v2(root / _SYNCNET_V2, device))
        return NamedSyncScorer("SyncNet-v2, on aligned crops", scorer)
    if not (root / _DEMO_SYNCNET).is_file():
        return None
    scorer = load_stable_sync_scorer(root / _DEMO_CONFIG, root / _DEMO_SYNCNET, device)
    return NamedSyncScorer("the demo SyncNet, trained on synthetic people only", scorer)


class FaceCollector:
    """Collect crops of the longest uninterrupted interval with the face; a `lipsync_job.FrameCallback`.

    Args:
        resolution: side of the pipeline's aligned crops in pixels; larger crops are stored at 256.
        max_frames: maximum number of stored frames.
        device: device that computes the crops.
    """

    def __init__(self, resolution: int, max_frames: int, device: torch.device) -> None:
        self._resolution, self._max_frames, self._device = resolution, max_frames, device
        self._longest: list[tuple[np.ndarray, np.ndarray]] = []
        self._longest_start = 0
        self._current: list[tuple[np.ndarray, np.ndarray]] = []
        self._current_start = 0
        self._shown: NDArray[np.bool_] | None = None

    def take_only(self, shown: NDArray[np.bool_]) -> None:
        """Collect only these frames: of several people, the matrix of a frame may be that of another one.

        Args:
            shown: (n,) for the frames of the result.
        """
        self._shown = shown

    def __call__(self, index: int, source: np.ndarray, result: np.ndarray, matrix: np.ndarray | None) -> None:
        """Receive the next frame."""
        if len(self._longest) >= self._max_frames:
            return
        if matrix is None or (self._shown is not None and not self._shown[index]):
            self._end_interval()
            return
        if not self._current:
            self._current_start = index
        crops = crop_faces([source, result], np.stack([matrix, matrix]), self._resolution, self._device)
        if self._resolution > _MAX_CROP:
            crops = F.interpolate(crops, (_MAX_CROP, _MAX_CROP), mode="area")
        before, after = ((crops + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        self._current.append((before, after))
        if len(self._current) >= self._max_frames:
            self._end_interval()

    def longest(self) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]]:
        """Return the first frame of the longest interval and its (source, result) crops (h, w, 3) uint8."""
        self._end_interval()
        return self._longest_start, self._longest

    def _end_interval(self) -> None:
        if len(self._current) > len(self._longest):
            self._longest, self._longest_start = self._current, self._current_start
        self._current = []


def spoken_frames(job: LipsyncJob, person: Person, intervals: Sequence[FaceInterval]) -> NDArray[np.bool_]:
    """Return (n,) bool: True for the frames of the result with the person's generated mouth, while the speech lasts."""
    shown = np.zeros(job.num_frames, dtype=bool)
    for interval in intervals:
        shown[interval.start : interval.stop] = interval.has_face
    shown[round(person.voice.samples.num_samples * job.fps / SAMPLE_RATE) :] = False
    return shown


def compare_sync(
    scorer: NamedSyncScorer | None,
    faces: FaceCollector,
    fps: float,
    speech: Path,
    folder: Path,
    check: Callable[[], None],
) -> SyncComparison:
    """Score the collected crops of the source and of the result.

    Args:
        scorer: None measures nothing.
        faces: the collected crops.
        fps: frames per second of the result; scorers take 25.
        speech: driving audio of the job.
        folder: folder for a temporary file.
        check: called between the two scores; may raise to stop.
    """
    if scorer is None:
        return SyncComparison("none", reason="the weights of the sync scorers are missing")
    start, crops = faces.longest()
    chosen = [crops[i] for i in frames_at_25(len(crops), fps)]
    if not chosen:
        return SyncComparison(scorer.name, reason="the face is absent in all frames")
    first = round(start / fps * SAMPLE_RATE)
    with AudioSamples.decode(speech, folder) as audio:
        samples = audio.read(first, first + len(chosen) * SAMPLE_RATE // FRAMES_PER_SECOND)
    try:
        before = scorer.scorer.score(np.stack([pair[0] for pair in chosen]), samples)
        check()
        after = scorer.scorer.score(np.stack([pair[1] for pair in chosen]), samples)
    except InputError as error:
        return SyncComparison(scorer.name, reason=str(error))
    return SyncComparison(scorer.name, before, after)


def frames_at_25(num_frames: int, fps: float) -> list[int]:
    """Return the frame indices of a video resampled to 25 frames per second."""
    count = int(num_frames / fps * FRAMES_PER_SECOND + 1e-6)
    return [min(round(i * fps / FRAMES_PER_SECOND), num_frames - 1) for i in range(count)]
