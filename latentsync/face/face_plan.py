"""Find and follow one face through a whole video, and smooth its anchors over time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentsync.face.detection import FaceDetector
from latentsync.face.face_tracks import track_faces
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.face.tracker import Track

_SMOOTHING_WIDTH = 2.5
"""Standard deviation of the smoothing weights in frames at 25 frames per second (100 ms)."""

_SMOOTHING_REACH = 3.0
"""Standard deviations beyond which frames are ignored."""

_SMOOTHING_DEGREE = 2


@dataclass(frozen=True)
class FacePlan:
    """Position of the followed face in every frame; about 30 bytes per frame.

    Attributes:
        anchors: (n, 3, 2) float32 left brow, right brow, nose in frame pixels; NaN if the face is absent.
        segment: (n,) int32 number of the frame's segment, -1 if the face is absent; a new segment begins after every
            gap, cut and change of track.
        strength: (n,) float32 in [0, 1], weight of the generated mouth, 0 keeping the source's; None: 1 everywhere.
    """

    anchors: np.ndarray
    segment: np.ndarray
    strength: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.segment)

    def segments(self) -> list[tuple[int, int]]:
        """Return (start, stop) frames of every segment with the face, in order; stop is excluded."""
        if len(self) == 0:
            return []
        starts = [0, *(np.flatnonzero(np.diff(self.segment)) + 1).tolist()]
        stops = [*starts[1:], len(self)]
        return [(start, stop) for start, stop in zip(starts, stops, strict=True) if self.segment[start] >= 0]

    def smoothed(self, fps: float = 25.0) -> "FacePlan":
        """Return the plan with the anchors of each segment smoothed over time."""
        anchors = self.anchors.copy()
        for start, stop in self.segments():
            anchors[start:stop] = smooth_anchors(anchors[start:stop], fps)
        return replace(self, anchors=anchors)

    def rounded(self) -> "FacePlan":
        """Return the plan with anchors in whole pixels, halves to the even one, as in the published system."""
        return replace(self, anchors=self.anchors.round())


def plan_face(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    selector: str = "largest",
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    fps: float = 25.0,
    exact: bool = False,
    frame_size: tuple[int, int] | None = None,
) -> FacePlan:
    """Return the plan of a video with smoothed anchors; memory holds one batch of frames and the tracks.

    In every scene the selected track is followed (see `tracker.select_track`).

    Args:
        frames: uint8 RGB (h, w, 3), all of one size.
        detector: the face detector.
        selector: which face, see `tracker.select_track`.
        batch_size: frames detected together.
        progress: called with the number of processed frames after each batch.
        fps: frames per second.
        exact: detect the face fully in every frame, and round the anchors to whole pixels as published instead of
            smoothing them.
        frame_size: (w, h) of the video's frames in pixels, to which the selector and the plan refer; by default the
            size of the given frames, which may be reduced ones.

    Returns:
        A plan as long as the video; it has no segment if the video shows no face.

    Raises:
        InputError: the selector is invalid, or selects none of the faces in the video.
    """
    interval = 1 if exact else DETECTION_INTERVAL
    plan = raw_plan(frames, detector, selector, batch_size, progress, interval, frame_size)
    return plan.rounded() if exact else plan.smoothed(fps)


def raw_plan(
    frames: Iterable[np.ndarray],
    detector: FaceDetector,
    selector: str = "largest",
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    interval: int = DETECTION_INTERVAL,
    frame_size: tuple[int, int] | None = None,
) -> FacePlan:
    """Return the plan before smoothing; `interval` is that of `SparseDetector`. See `plan_face`."""
    found = track_faces(frames, detector, [selector], batch_size, progress, interval, frame_size)
    return plan_tracks(found.follow(selector), found.num_frames)


def plan_tracks(followed: Sequence[Track], num_frames: int) -> FacePlan:
    """Return the plan of tracks that do not overlap in time; short gaps inside a track are filled linearly."""
    anchors = np.full((num_frames, 3, 2), np.nan, dtype=np.float32)
    segment = np.full(num_frames, -1, dtype=np.int32)
    for number, track in enumerate(followed):
        span = slice(int(track.frames[0]), track.last_frame + 1)
        anchors[span] = interpolated_anchors(track)
        segment[span] = number
    return FacePlan(anchors, segment)


def interpolated_anchors(track: Track) -> np.ndarray:
    """Return the anchors (n, 3, 2) in every frame from the first to the last of a track; gaps are filled linearly."""
    found, values = track.frames, track.anchors.reshape(len(track), -1)
    span = np.arange(found[0], found[-1] + 1)
    lines = [np.interp(span, found, values[:, column]) for column in range(values.shape[1])]
    return np.stack(lines, axis=1).reshape(-1, 3, 2)


def smooth_anchors(anchors: np.ndarray, fps: float = 25.0) -> np.ndarray:
    """Smooth the anchors of one face over successive frames by local regression (Savitzky-Golay with soft weights).

    At every frame a parabola is fitted to the frames around it, near ones with the largest weight. Steady motion and
    acceleration are preserved without lag; the fit uses frames up to 0.3 s ahead. At both ends it is one-sided.

    Args:
        anchors: (n, 3, 2) in pixels, without NaN, of one segment.
        fps: frames per second.

    Returns:
        (n, 3, 2) of the same dtype.
    """
    num_frames, width = len(anchors), _SMOOTHING_WIDTH * fps / 25
    if num_frames < 3:
        return anchors.copy()
    reach = max(1, round(_SMOOTHING_REACH * width))
    track = anchors.reshape(num_frames, -1).astype(np.float64)
    smooth = np.empty_like(track)
    kernel = _smoothing_weights(np.arange(-reach, reach + 1), width)
    if num_frames > 2 * reach:
        windows = np.lib.stride_tricks.sliding_window_view(track, 2 * reach + 1, axis=0)
        smooth[reach:-reach] = windows @ kernel
    for i in range(num_frames):
        if i < reach or i >= num_frames - reach:
            near = np.arange(max(0, i - reach), min(num_frames, i + reach + 1))
            smooth[i] = _smoothing_weights(near - i, width) @ track[near]
    return smooth.reshape(anchors.shape).astype(anchors.dtype)


def jitter(anchors: np.ndarray) -> float:
    """Return the mean length of the anchors' second difference over time, relative to the distance between the brows.

    Args:
        anchors: (n, 3, 2); frames with NaN, and differences across them, are skipped.

    Returns:
        NaN with fewer than 3 frames.
    """
    distance = np.linalg.norm(anchors[:, 1] - anchors[:, 0], axis=1)
    lengths = np.linalg.norm(np.diff(anchors.astype(np.float64), 2, axis=0), axis=-1)
    lengths = lengths[~np.isnan(lengths)]
    return float(lengths.mean() / np.nanmean(distance)) if lengths.size else float("nan")


def _smoothing_weights(offsets: np.ndarray, width: float) -> np.ndarray:
    """Return the weights of frames at these offsets for the fitted polynomial's value at offset 0."""
    share = np.exp(-0.5 * (offsets / width) ** 2)
    powers = (offsets[:, None] / width) ** np.arange(min(_SMOOTHING_DEGREE, len(offsets) - 1) + 1)
    return np.linalg.solve(powers.T @ (share[:, None] * powers), (share[:, None] * powers).T)[0]
