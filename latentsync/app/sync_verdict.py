"""The sync of a job's face with the new speech, before and after: two verdicts of one judge on the same frames."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.errors import InputError
from latentsync.face.align import crop_faces
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScore, SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.weights import REPOSITORY_ROOT

FRAMES_PER_SECOND = 25
MAX_SECONDS = 10
"""The longest unbroken stretch of the face is judged, up to so much of it."""

_LARGEST_CROP = 256
_SYNCNET_V2 = "checkpoints/auxiliary/syncnet_v2.model"
_DEMO_SYNCNET = "checkpoints/demo/stable_syncnet.pt"
_DEMO_CONFIG = "configs/demo/syncnet.yaml"


@dataclass(frozen=True)
class SyncJudge:
    """Who judges.

    Attributes:
        name: for the page.
        scorer: sees aligned crops.
    """

    name: str
    scorer: SyncScorer


@dataclass(frozen=True)
class SyncVerdict:
    """Two verdicts, by the judge of that name; None with a `reason` where there is none.

    `before` is the video as it came, under the new speech.
    """

    judge: str
    before: SyncScore | None = None
    after: SyncScore | None = None
    reason: str = ""


def build_judge(device: torch.device, root: Path = REPOSITORY_ROOT) -> SyncJudge | None:
    """SyncNet-v2 where its weights are, else the demo SyncNet; None where neither is."""
    if (root / _SYNCNET_V2).is_file():
        return SyncJudge("SyncNet-v2, on aligned crops", SyncNetV2Scorer(load_syncnet_v2(root / _SYNCNET_V2, device)))
    if not (root / _DEMO_SYNCNET).is_file():
        return None
    scorer = load_stable_sync_scorer(root / _DEMO_CONFIG, root / _DEMO_SYNCNET, device)
    return SyncJudge("the demo SyncNet, which knows synthetic people only", scorer)


class FaceCollector:
    """Watches a run (`lipsync_job.FrameCallback`) and keeps crops of the longest unbroken stretch of the face.

    Args:
        resolution: side of the pipeline's aligned crops in pixels; larger ones than 256 are kept at 256.
        max_frames: no more are kept.
        device: where crops are made.
    """

    def __init__(self, resolution: int, max_frames: int, device: torch.device) -> None:
        self._resolution, self._max_frames, self._device = resolution, max_frames, device
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._kept_start = 0
        self._present: list[tuple[np.ndarray, np.ndarray]] = []
        self._present_start = 0

    def __call__(self, index: int, source: np.ndarray, result: np.ndarray, matrix: np.ndarray | None) -> None:
        """Takes the next frame."""
        if len(self._kept) >= self._max_frames:
            return
        if matrix is None:
            self._close()
            return
        if not self._present:
            self._present_start = index
        crops = crop_faces([source, result], np.stack([matrix, matrix]), self._resolution, self._device)
        if self._resolution > _LARGEST_CROP:
            crops = F.interpolate(crops, (_LARGEST_CROP, _LARGEST_CROP), mode="area")
        before, after = ((crops + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        self._present.append((before, after))
        if len(self._present) >= self._max_frames:
            self._close()

    def stretch(self) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]]:
        """First frame, and the crops (h, w, 3) uint8 of source and result from there on."""
        self._close()
        return self._kept_start, self._kept

    def _close(self) -> None:
        if len(self._present) > len(self._kept):
            self._kept, self._kept_start = self._present, self._present_start
        self._present = []


def judge_sync(
    judge: SyncJudge | None, faces: FaceCollector, fps: float, speech: Path, folder: Path, check: Callable[[], None]
) -> SyncVerdict:
    """Both verdicts on what was collected.

    Args:
        judge: None gives no verdict.
        faces: what was collected.
        fps: frames per second of the result; judges see 25.
        speech: the job's sound.
        folder: for a temporary file.
        check: called between the two; may raise to stop.
    """
    if judge is None:
        return SyncVerdict("nobody", reason="there are no weights of a judge")
    start, stretch = faces.stretch()
    chosen = [stretch[i] for i in frames_at_25(len(stretch), fps)]
    if not chosen:
        return SyncVerdict(judge.name, reason="the face was never there")
    first = round(start / fps * SAMPLE_RATE)
    with AudioSamples.decode(speech, folder) as sound:
        samples = sound.read(first, first + len(chosen) * SAMPLE_RATE // FRAMES_PER_SECOND)
    try:
        before = judge.scorer.score(np.stack([pair[0] for pair in chosen]), samples)
        check()
        after = judge.scorer.score(np.stack([pair[1] for pair in chosen]), samples)
    except InputError as error:
        return SyncVerdict(judge.name, reason=str(error))
    return SyncVerdict(judge.name, before, after)


def frames_at_25(num_frames: int, fps: float) -> list[int]:
    """The frames that are shown at 25 a second."""
    count = int(num_frames / fps * FRAMES_PER_SECOND + 1e-6)
    return [min(round(i * fps / FRAMES_PER_SECOND), num_frames - 1) for i in range(count)]
