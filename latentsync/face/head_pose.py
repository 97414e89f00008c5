"""Yaw of a head from its three anchors, and the strength that fades a face out where it is turned away."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentsync.face.fading import faded_strength

NOSE_DEPTH_FIVE_POINTS = 0.45
NOSE_DEPTH_68_POINTS = 0.21
"""Depth of the nose anchor before the brow anchors, as a share of the distance between the brows, for the anchors of
`mtcnn.anchors_from_five` and `landmarks68.anchors_from_68`. Both are those of one mean 3D face (meanshape_68 of the
package insightface 2.1). docs/people.md has what was measured with the first; nothing was with the second."""

_HYSTERESIS_DEGREES = 3.0
"""A face that was turned away is used again below the limit minus this."""


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

    It changes slowly, see `fading.faded_strength`.

    Args:
        yaw: (n,) in degrees, from `yaw_degrees`.
        segments: (start, stop) of the frames with the face, stop excluded, see `FacePlan.segments`.
        max_yaw: limit in degrees, for turns to either side.
        fps: frames per second.

    Returns:
        (n,) in [0, 1]; 1 outside the segments.
    """
    away = np.zeros(len(yaw), dtype=bool)
    for start, stop in segments:
        away[start:stop] = _is_above(np.abs(yaw[start:stop]), max_yaw)
    return faded_strength(away, segments, fps)


def _is_above(values: NDArray[np.floating], limit: float) -> NDArray[np.bool_]:
    """Return (n,) True from a value above the limit to the next one below the limit minus the hysteresis."""
    above = np.zeros(len(values), dtype=bool)
    state = False
    for i, value in enumerate(values):
        state = bool(value > limit - (_HYSTERESIS_DEGREES if state else 0.0))
        above[i] = state
    return above
