"""Face tracks and crops as SyncNet-v2 was published with.

Joon Son Chung's tracker (syncnet_python, MIT) on boxes of any detector: boxes are linked into tracks; for each track, a
square around the face, smoothed over half a second, is cropped with margins below and at the sides.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.errors import InputError

CROP_SIZE = 224
"""Side of a crop in pixels."""

MEDIAN_FRAMES = 13
"""Length of the median filter over size and centre."""

_ABOVE, _BELOW, _ASIDE = 1.0, 1.8, 1.4
"""Extent of a crop from the face's centre, in half sides of the face."""

_PAD_LEVEL = 110


@dataclass(frozen=True)
class FaceTrackConfig:
    """Criteria of a track; the defaults are the published ones.

    Attributes:
        min_overlap: intersection over union with the track's last box that a box must exceed to extend the track.
        max_gap: frames from one box of a track to the next; 25 allows up to 24 frames without a box between two.
        min_frames: minimum number of boxes, at least 7 (half the median filter). The published tracker requires more
            than 50.
        min_side: pixels that the larger of mean width and mean height must exceed.
    """

    min_overlap: float = 0.5
    max_gap: int = 25
    min_frames: int = 51
    min_side: float = 100.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_overlap < 1:
            raise ValueError(f"min_overlap {self.min_overlap} is out of range: use 0 to 1")
        if self.max_gap < 1:
            raise ValueError(f"max_gap {self.max_gap} is out of range: use 1 or more")
        if self.min_frames < MEDIAN_FRAMES // 2 + 1:
            raise ValueError(f"min_frames {self.min_frames} is out of range: use {MEDIAN_FRAMES // 2 + 1} or more")
        if self.min_side < 1:
            raise ValueError(f"min_side {self.min_side} is out of range: use 1 or more")


@dataclass(frozen=True)
class FaceTrack:
    """One face over consecutive frames; gaps are interpolated.

    Attributes:
        first_frame: index of its first frame in the video.
        boxes: (n, 4) float64 x0, y0, x1, y1 in pixels of frames first_frame ... first_frame + n - 1.
        num_detected: number of frames in which the face was detected; the others are interpolated.
    """

    first_frame: int
    boxes: np.ndarray
    num_detected: int

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def stop_frame(self) -> int:
        """Index of the frame after the last one."""
        return self.first_frame + len(self)

    @property
    def mean_side(self) -> float:
        """The larger of mean width and mean height, in pixels."""
        return float((self.boxes[:, 2:] - self.boxes[:, :2]).mean(axis=0).max())


def link_tracks(boxes_per_frame: Iterable[np.ndarray], config: FaceTrackConfig | None = None) -> list[FaceTrack]:
    """Link the boxes of consecutive frames of one shot into tracks, in the order in which they start.

    A box extends the track whose last box it overlaps most. Call once per shot, since tracks do not end at cuts.

    Args:
        boxes_per_frame: per frame (k, 4) x0, y0, x1, y1 in pixels; further columns are ignored.
        config: criteria of a track; the published values by default.
    """
    config = config or FaceTrackConfig()
    tracks: list[list[tuple[int, np.ndarray]]] = []
    active: list[list[tuple[int, np.ndarray]]] = []
    for frame, detected in enumerate(boxes_per_frame):
        boxes = np.asarray(detected, dtype=np.float64)
        boxes = boxes[:, :4] if boxes.size else np.empty((0, 4))
        active = [track for track in active if frame - track[-1][0] <= config.max_gap]
        extended = _match_boxes(np.array([track[-1][1] for track in active]), boxes, config.min_overlap)
        for i, box in enumerate(boxes):
            if i in extended:
                active[extended[i]].append((frame, box))
            else:
                tracks.append([(frame, box)])
                active.append(tracks[-1])
    long_enough = (_interpolate(track) for track in tracks if len(track) >= config.min_frames)
    return [track for track in long_enough if track.mean_side > config.min_side]


def _match_boxes(last_boxes: np.ndarray, boxes: np.ndarray, min_overlap: float) -> dict[int, int]:
    """Return {box index: track index}: pairs with the largest overlap first, each box and track at most once."""
    if len(last_boxes) == 0 or len(boxes) == 0:
        return {}
    overlaps = _pairwise_iou(last_boxes, boxes)
    linked: dict[int, int] = {}
    for index in np.argsort(-overlaps, axis=None, kind="stable"):
        track, box = divmod(int(index), len(boxes))
        if overlaps[track, box] <= min_overlap:
            break
        if box not in linked and track not in linked.values():
            linked[box] = track
    return linked


def _pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union (m, k) of boxes (m, 4) and (k, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)


def _interpolate(track: list[tuple[int, np.ndarray]]) -> FaceTrack:
    frames, boxes = np.array([frame for frame, _ in track]), np.array([box for _, box in track])
    span = np.arange(frames[0], frames[-1] + 1)
    filled = np.stack([np.interp(span, frames, column) for column in boxes.T], axis=1)
    return FaceTrack(int(frames[0]), filled, len(track))


def crop_squares(track: FaceTrack, num_frames: int = MEDIAN_FRAMES) -> np.ndarray:
    """Return half side, centre x and centre y (n, 3) of the face in every frame, in pixels.

    They are median-filtered over an odd number of frames.
    """
    low, high = track.boxes[:, :2], track.boxes[:, 2:]
    values = np.column_stack([(high - low).max(axis=1) / 2, (low + high) / 2])
    return np.column_stack([median_filter(column, num_frames) for column in values.T])


def median_filter(values: np.ndarray, num_frames: int = MEDIAN_FRAMES) -> np.ndarray:
    """Return the running median of values (n,) over an odd number of frames, zero-padded at both ends.

    The zero padding is the published tracker's (`scipy.signal.medfilt`). It lowers the first and last six values: the
    first is the smallest of seven.
    """
    reach = num_frames // 2
    padded = np.pad(np.asarray(values, dtype=np.float64), reach)
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, num_frames), axis=1)


def crop_track(frames: Iterable[np.ndarray], track: FaceTrack) -> Iterator[np.ndarray]:
    """Yield the crops of a track; at most one frame is in memory.

    Args:
        frames: frames of the video from its beginning, uint8 RGB (h, w, 3); those after the track are not read.
        track: from `link_tracks`, of the same video.

    Yields:
        len(track) crops, uint8 RGB (224, 224, 3), level 110 outside the frame.

    Raises:
        InputError: the video ends before the track.
    """
    squares = crop_squares(track)
    number = -1
    for number, frame in enumerate(frames):
        if number >= track.first_frame:
            yield crop_square(frame, *squares[number - track.first_frame].tolist())
        if number + 1 == track.stop_frame:
            return
    raise InputError(f"the video ends after {number + 1} frames, its face track after {track.stop_frame}: track again")


def crop_square(frame: np.ndarray, half_side: float, centre_x: float, centre_y: float) -> np.ndarray:
    """Return the crop (224, 224, 3) of one frame (h, w, 3), uint8; half side and centre of the face are in pixels.

    As published, the region is rounded to whole pixels of the frame padded by int(1.8 half_side), then resized
    bilinearly.
    """
    pad = int(half_side * _BELOW)
    x, y = centre_x + pad, centre_y + pad
    top, bottom = int(y - half_side * _ABOVE) - pad, int(y + half_side * _BELOW) - pad
    left, right = int(x - half_side * _ASIDE) - pad, int(x + half_side * _ASIDE) - pad
    region = np.full((max(bottom - top, 1), max(right - left, 1), 3), _PAD_LEVEL, dtype=np.uint8)
    rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    inside = frame[rows, columns]
    if inside.size:
        first_row, first_column = rows.start - top, columns.start - left
        region[first_row : first_row + inside.shape[0], first_column : first_column + inside.shape[1]] = inside
    return cv2.resize(region, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_LINEAR)
