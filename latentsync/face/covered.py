"""Find the frames in which another person's head is in front of the mouth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentsync.face.tracker import Track

_MOUTH = (0.1, 0.55, 0.9, 1.05)
_HEAD = (-0.15, -0.4, 1.15, 1.1)
"""x0, y0, x1, y1 of the generated region and of a head, as shares of the size of a face's box."""

_SMALLEST_SHARE = 0.1
"""Share of the generated region that a head must overlap."""

_LARGEST_TIME = 0.5
"""Share of the common frames above which an overlapping face is a second detection of the same head."""


def covered_frames(followed: Sequence[Track], tracks: Sequence[Track], num_frames: int) -> NDArray[np.bool_]:
    """Return (num_frames,) True where the head of somebody nearer overlaps the mouth of the followed person.

    Of two people the one with the larger face is nearer. Somebody who is not found in a frame, between frames in which
    the face is found, is behind.

    Args:
        followed: tracks of the person.
        tracks: tracks of everyone.
        num_frames: length of the video.
    """
    covered = np.zeros(num_frames, dtype=bool)
    others = [track for track in tracks if not any(track is own for own in followed)]
    for own in followed:
        is_found = np.zeros(num_frames, dtype=bool)
        is_found[own.frames] = True
        for other in others:
            start, last = max(own.frames[0], other.frames[0]), min(own.last_frame, other.last_frame)
            if other.scene != own.scene or start > last:
                continue
            span = np.arange(start, last + 1)
            mine, theirs = own.boxes_at(span), other.boxes_at(span)
            is_behind = ~is_found[span] | (_areas(theirs) > _areas(mine))
            overlaps = _share_inside(_part(mine, _MOUTH), _part(theirs, _HEAD)) > _SMALLEST_SHARE
            if overlaps.mean() <= _LARGEST_TIME:
                covered[span] |= is_behind & overlaps
    return covered


def _part(boxes: NDArray[np.floating], shares: tuple[float, float, float, float]) -> NDArray[np.floating]:
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return np.tile(boxes[:, :2], 2) + np.array(shares) * size


def _areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def _share_inside(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the share (n,) of each box that lies in the other one."""
    shared = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    return np.maximum(shared, 0).prod(axis=1) / np.maximum(_areas(boxes), 1e-6)
