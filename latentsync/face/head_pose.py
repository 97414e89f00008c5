"""Yaw of a head from its three anchors, and the strength that fades a face out where it is turned away."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

NOSE_DEPTH_FIVE_POINTS = 0.45
NOSE_DEPTH_68_POINTS = 0.21
"""Depth of the nose anchor before the brow anchors, as a share of the distance between the brows, for the anchors of
`mtcnn.anchors_from_five` and `landmarks68.anchors_from_68`. Both are those of one mean 3D face (meanshape_68 of the
package insightface 2.1). docs/people.md has what was measured with the first; nothing was with the second."""

_HYSTERESIS_DEGREES = 3.0
"""A face that was turned away is used again below the limit minus this."""

_FADE_S = 0.16
_FEWEST_FADE_FRAMES = 4


def yaw_degrees(anchors: NDArray[np.floating], nose_depth: float = NOSE_DEPTH_FIVE_POINTS) -> NDArray[np.float32]:
    """Return the yaw of a head in every frame: 0 is frontal, positive is a nose turned to the right of the image.

    Seen from the front, the nose lies midway between the brows. A turn shifts it along the line of the brows by
    depth * sin(yaw), and shortens that line by cos(yaw). Roll has no effect. With the mean face, a yaw of 30 degrees
    gives 23 if the head is raised by 15 degrees, 32 if it is lowered by 15.

    Args:
        anchors: (n, 3, 2) left brow, right brow, nose in pixels, smoothed over time; NaN where the face is absent.
        nose_depth: of the anchors' kind, see `NOSE_DEPTH_FIVE_POINTS`.

    Returns:
        (n,) in degrees, -90 to 90; NaN where the face is absent.
    """
    left, right, nose = np.moveaxis(np.asarray(anchors, dtype=np.float64), 1, 0)
    line, offset = right - left, nose - (left + right) / 2
    along, length = (offset * line).sum(axis=1), (line**2).sum(axis=1)
    return np.degrees(np.arctan2(along, nose_depth * length)).astype(np.float32)


def turn_strength(
    yaw: NDArray[np.floating], segments: Sequence[tuple[int, int]], max_yaw: float, fps: float = 25.0
) -> NDArray[np.float32]:
    """Return the weight of the generated mouth in every frame: 1 below the limit of the yaw, 0 above.

    The weight falls and rises linearly over at least four frames (0.16 s), which lie outside the frames above the
    limit. Both states last three times as long or longer, so the mouth never flickers: a shorter turn is extended, a
    shorter return is skipped. Segments do not affect each other.

    Args:
        yaw: (n,) in degrees, from `yaw_degrees`.
        segments: (start, stop) of the frames with the face, stop excluded, see `FacePlan.segments`.
        max_yaw: limit in degrees, for turns to either side.
        fps: frames per second.

    Returns:
        (n,) in [0, 1]; 1 outside the segments.
    """
    strength = np.ones(len(yaw), dtype=np.float32)
    num_fade = max(_FEWEST_FADE_FRAMES, round(_FADE_S * fps))
    for start, stop in segments:
        away = _with_shortest_length(_is_above(np.abs(yaw[start:stop]), max_yaw), 3 * num_fade)
        if away.any():
            strength[start:stop] = np.minimum(_distance_to(away) / (num_fade + 1), 1.0)
    return strength


def _is_above(values: NDArray[np.floating], limit: float) -> NDArray[np.bool_]:
    """Return (n,) True from a value above the limit to the next one below the limit minus the hysteresis."""
    above = np.zeros(len(values), dtype=bool)
    state = False
    for i, value in enumerate(values):
        state = bool(value > limit - (_HYSTERESIS_DEGREES if state else 0.0))
        above[i] = state
    return above


def _with_shortest_length(away: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Return `away` (n,) with runs of True extended to a length of `shortest`, then shorter runs of False set."""
    away = away.copy()
    for value, start, stop in _runs(away):
        if value and stop - start < shortest:
            first = min(max(0, start - (shortest - (stop - start)) // 2), max(0, len(away) - shortest))
            away[first : first + shortest] = True
    if away.any():
        for value, start, stop in _runs(away):
            if not value and stop - start < shortest:
                away[start:stop] = True
    return away


def _distance_to(marked: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return (n,) the distance of every index to the nearest marked one."""
    places = np.arange(len(marked))
    before = np.maximum.accumulate(np.where(marked, places, -np.inf))
    behind = np.minimum.accumulate(np.where(marked, places, np.inf)[::-1])[::-1]
    return np.minimum(places - before, behind - places)


def _runs(values: NDArray[np.bool_]) -> list[tuple[bool, int, int]]:
    """Return (value, start, stop) of the runs of equal values."""
    runs: list[tuple[bool, int, int]] = []
    for value, items in groupby(values.tolist()):
        start = runs[-1][2] if runs else 0
        runs.append((value, start, start + sum(1 for _ in items)))
    return runs
