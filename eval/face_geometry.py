"""Face positions of a video, detected once and cached by content, so that no metric runs a detector itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from latentsync.face.cuts import CutDetector
from latentsync.face.detection import Detection, FaceDetector
from latentsync.face.face_plan import plan_face
from latentsync.media.reader import VideoReader
from latentsync.storage.content_cache import ArrayCache, cache_key

FRAMES_PER_SECOND = 25
"""Frame rate at which every video is evaluated."""

_DETECTION_BATCH = 16
_VERSION = 1
"""Incremented when the cached arrays change their meaning."""

_ROW = 12
"""Numbers per detection: frame, 4 of the box, score, 6 of the anchors."""


@dataclass(frozen=True)
class FaceGeometry:
    """The faces of a video at 25 frames per second.

    Attributes:
        anchors: (n, 3, 2) float32, smoothed anchors of the tracked (largest) face in frame pixels; NaN if absent.
        rows: (k, 12) float32, one row per detection of any face: frame, box x0 y0 x1 y1, score, anchors. Rows are
            sorted by frame, and within a frame the best detection comes first.
        cuts: (c,) int32, first frame of every shot but the first.
    """

    anchors: np.ndarray
    rows: np.ndarray
    cuts: np.ndarray

    def __len__(self) -> int:
        return len(self.anchors)

    @property
    def valid(self) -> np.ndarray:
        """(n,) bool, True in frames that contain the tracked face."""
        return np.asarray(np.isfinite(self.anchors).all(axis=(1, 2)), dtype=bool)

    def shots(self) -> list[tuple[int, int]]:
        """Return (start, stop) frames of every shot, in order."""
        edges = [0, *self.cuts.tolist(), len(self)]
        return [(start, stop) for start, stop in pairwise(edges) if stop > start]

    def detections(self) -> list[list[Detection]]:
        """Return all faces of every frame, best first."""
        found: list[list[Detection]] = [[] for _ in range(len(self))]
        for row in self.rows:
            found[int(row[0])].append(Detection(np.array(row[1:5]), float(row[5]), np.array(row[6:]).reshape(3, 2)))
        return found


def find_geometry(video: Path, key: str, detector: FaceDetector, cache: ArrayCache) -> FaceGeometry:
    """Return the geometry of a video, from the cache if it is stored there.

    Args:
        video: the file.
        key: cache key of its content and the detector.
        detector: detects faces if nothing is cached.
        cache: stores anchors (n, 3, 2), detections (k, 12) and cuts (c,).
    """
    keys = [cache_key("eval geometry", _VERSION, key, part) for part in ("anchors", "detections", "cuts")]
    cached = [cache.read(one) for one in keys]
    stored = [np.array(array) for array in cached if array is not None]
    if len(stored) == len(keys):
        return FaceGeometry(*stored)
    geometry = detect_geometry(video, detector)
    for one, array in zip(keys, (geometry.anchors, geometry.rows, geometry.cuts), strict=True):
        cache.get(one, lambda array=array: array)
    return geometry


def detect_geometry(video: Path, detector: FaceDetector) -> FaceGeometry:
    """Detect faces in every frame of a video; memory holds one batch of frames and 48 bytes per detection."""
    recorder = _RecordingDetector(detector)
    with VideoReader(video, Fraction(FRAMES_PER_SECOND)) as frames:
        plan = plan_face(frames, recorder, batch_size=_DETECTION_BATCH, fps=FRAMES_PER_SECOND)
    rows = np.array(recorder.rows, dtype=np.float32).reshape(-1, _ROW)
    return FaceGeometry(plan.anchors, rows, np.array(recorder.cuts, dtype=np.int32))


class _RecordingDetector:
    """A detector that records its detections and the cuts."""

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
