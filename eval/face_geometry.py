"""Where the faces of a video are, found once and kept by content, so that no metric detects faces itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from latentsync.face.detection import Detection, FaceDetector
from latentsync.face.face_plan import CutDetector, plan_face
from latentsync.media.reader import VideoReader
from latentsync.storage.content_cache import ArrayCache, cache_key

FRAMES_PER_SECOND = 25
"""Every video is judged at this rate."""

_DETECTION_BATCH = 16
_VERSION = 1
"""Counted up when what is kept changes its meaning."""

_ROW = 12
"""Numbers a detection: frame, box 4, score, anchors 6."""


@dataclass(frozen=True)
class FaceGeometry:
    """The faces of a video at 25 frames a second.

    Attributes:
        anchors: (n, 3, 2) float32 of the followed (largest) face, smoothed, in frame pixels; NaN where it is absent.
        rows: (k, 12) float32, one a detection of any face: frame, box x0 y0 x1 y1, score, anchors; frames ascend and
            the best detection of a frame comes first.
        cuts: (c,) int32 frames that begin a new shot, without frame 0.
    """

    anchors: np.ndarray
    rows: np.ndarray
    cuts: np.ndarray

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def valid(self) -> np.ndarray:
        """(n,) bool, whether the followed face is there."""
        return np.asarray(np.isfinite(self.anchors).all(axis=(1, 2)), dtype=bool)

    def shots(self) -> list[tuple[int, int]]:
        """(start, stop) frames of every shot, in order."""
        edges = [0, *self.cuts.tolist(), len(self)]
        return [(start, stop) for start, stop in pairwise(edges) if stop > start]

    def detections(self) -> list[list[Detection]]:
        """All faces of every frame, best first."""
        found: list[list[Detection]] = [[] for _ in range(len(self))]
        for row in self.rows:
            found[int(row[0])].append(Detection(np.array(row[1:5]), float(row[5]), np.array(row[6:]).reshape(3, 2)))
        return found


def find_geometry(video: Path, key: str, detector: FaceDetector, cache: ArrayCache) -> FaceGeometry:
    """The geometry of a video, from the cache where it is there.

    Args:
        video: the file.
        key: of its content and the detector.
        detector: looks for faces where nothing is kept.
        cache: keeps anchors (n, 3, 2), detections (k, 12) and cuts (c,).
    """
    keys = [cache_key("eval geometry", _VERSION, key, part) for part in ("anchors", "detections", "cuts")]
    kept = [cache.read(one) for one in keys]
    stored = [np.array(array) for array in kept if array is not None]
    if len(stored) == len(keys):
        return FaceGeometry(*stored)
    geometry = detect_geometry(video, detector)
    for one, array in zip(keys, (geometry.anchors, geometry.rows, geometry.cuts), strict=True):
        cache.get(one, lambda array=array: array)
    return geometry


def detect_geometry(video: Path, detector: FaceDetector) -> FaceGeometry:
    """Looks at every frame of a video; memory holds a batch of frames and 48 bytes a detection."""
    recorder = _Recorder(detector)
    with VideoReader(video, Fraction(FRAMES_PER_SECOND)) as frames:
        plan = plan_face(frames, recorder, batch_size=_DETECTION_BATCH, fps=FRAMES_PER_SECOND)
    rows = np.array(recorder.rows, dtype=np.float32).reshape(-1, _ROW)
    return FaceGeometry(plan.anchors, rows, np.array(recorder.cuts, dtype=np.int32))


class _Recorder:
    """A detector that writes down what it finds, and where the shots begin."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._num_frames = 0
        self._cut_detector = CutDetector()
        self.rows: list[list[float]] = []
        self.cuts: list[int] = []

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        found = self._detector.detect(frames)
        for frame, detections in zip(frames, found, strict=True):
            if self._cut_detector.is_cut(frame):
                self.cuts.append(self._num_frames)
            for one in detections:
                self.rows.append([self._num_frames, *one.box.tolist(), one.score, *one.anchors.ravel().tolist()])
            self._num_frames += 1
        return found
