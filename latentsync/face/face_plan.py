"""Finds and follows the face through a whole video and writes down where it is in every frame."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from latentsync.errors import InputError
from latentsync.face.cuts import CutDetector
from latentsync.face.detector import FaceDetector
from latentsync.face.smoothing import smooth_anchors
from latentsync.face.tracker import FaceTracker, Track, continuations, select_track

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FacePlan:
    """Where the followed face is; about 30 bytes a frame.

    Attributes:
        anchors: (n, 3, 2) float32 left brow, right brow, nose in frame pixels, NaN where the face is absent.
        segment: (n,) int32 number of the stretch the frame belongs to, -1 where the face is absent; a new stretch
            begins after every gap, cut and change of track.
    """

    anchors: np.ndarray
    segment: np.ndarray

    def __len__(self) -> int:
        return len(self.segment)

    def segments(self) -> list[tuple[int, int]]:
        """(start, stop) frames of every stretch with the face, in order, stop not included."""
        if len(self) == 0:
            return []
        starts = [0, *(np.flatnonzero(np.diff(self.segment)) + 1).tolist()]
        stops = [*starts[1:], len(self)]
        return [(start, stop) for start, stop in zip(starts, stops, strict=True) if self.segment[start] >= 0]

    def smoothed(self, fps: float = 25.0) -> "FacePlan":
        """The plan with its anchors smoothed over time, anew in every stretch."""
        anchors = self.anchors.copy()
        for start, stop in self.segments():
            anchors[start:stop] = smooth_anchors(anchors[start:stop], fps)
        return FacePlan(anchors, self.segment)

    def rounded(self) -> "FacePlan":
        """The plan with its anchors in whole pixels, halves to the even one, as in the published system."""
        return FacePlan(self.anchors.round(), self.segment)


def plan_face(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    selector: str = "largest",
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    fps: float = 25.0,
    exact: bool = False,
) -> FacePlan:
    """The plan for a video, with smoothed anchors; memory holds one batch of frames and the tracks' numbers.

    In every scene the track that the selector means is followed (see `tracker.select_track`).

    Args:
        frames: uint8 RGB (h, w, 3), all of one size.
        detector: finds the faces.
        selector: which face, see `tracker.select_track`.
        batch_size: frames detected together.
        progress: called with the number of frames done after each batch.
        fps: frames per second.
        exact: round the anchors to whole pixels as published, instead of smoothing them.

    Returns:
        A plan as long as the video; without any stretch when the video shows no face at all.

    Raises:
        InputError: the selector is wrong, or means none of the faces of the video.
    """
    plan = raw_plan(frames, detector, selector, batch_size, progress)
    return plan.rounded() if exact else plan.smoothed(fps)


def raw_plan(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    selector: str = "largest",
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> FacePlan:
    """`plan_face` before smoothing."""
    cuts, tracker, frame_size = CutDetector(), FaceTracker(), (1, 1)
    for batch in _batches(frames, batch_size):
        if tracker.num_frames == 0:
            frame_size = (batch[0].shape[1], batch[0].shape[0])
            select_track([], selector, frame_size)  # a wrong selector is told before the long work
        for frame, detections in zip(batch, detector.detect(batch), strict=True):
            tracker.add(detections, cuts.is_cut(frame))
        if progress is not None:
            progress(tracker.num_frames)
    tracks = tracker.tracks()
    followed = _followed(tracks, selector, frame_size)
    if tracks and not followed:
        raise InputError(f"face {selector!r} matches none of the faces found in the video: use largest, left or right")
    return _written_down(followed, tracker.num_frames)


def _batches(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    iterator = iter(frames)
    while batch := list(islice(iterator, size)):
        yield batch


def _followed(tracks: list[Track], selector: str, frame_size: tuple[int, int]) -> list[Track]:
    """The tracks to follow, scene by scene; they never overlap in time."""
    followed: list[Track] = []
    for scene in sorted({track.scene for track in tracks}):
        candidates = [track for track in tracks if track.scene == scene]
        chosen = select_track(candidates, selector, frame_size)
        if chosen is None:
            logger.info("scene %d: no face matches %s", scene, selector)
        else:
            followed += continuations(chosen, candidates)
    return followed


def _written_down(followed: list[Track], num_frames: int) -> FacePlan:
    """The plan of these tracks, the short gaps inside them filled by straight lines."""
    anchors = np.full((num_frames, 3, 2), np.nan, dtype=np.float32)
    segment = np.full(num_frames, -1, dtype=np.int32)
    for number, track in enumerate(followed):
        seen, values = track.frames, track.anchors.reshape(len(track), -1)
        span = np.arange(seen[0], seen[-1] + 1)
        lines = [np.interp(span, seen, values[:, column]) for column in range(values.shape[1])]
        anchors[span] = np.stack(lines, axis=1).reshape(-1, 3, 2)
        segment[span] = number
    return FacePlan(anchors, segment)
