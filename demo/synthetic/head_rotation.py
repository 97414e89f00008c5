"""Rotation of a drawn face about the vertical axis: every point moves as the surface of a head at its place would.

The drawing is flat. A point at (x, y) has the depth of a rounded head with a nose, and moves to
``x cos(yaw) + depth sin(yaw)``. The outline keeps its width, since another part of the round skull forms it.
"""

from __future__ import annotations

import numpy as np

from demo.synthetic.drawing import Floats, bump, ramp

MAX_YAW_DEGREES = 40.0
"""Beyond this yaw the far cheek would lie behind the nose, which a flat drawing cannot show."""

_REACH = 1.2
"""No point of a head moves farther, in face units."""
_NUM_HALVINGS = 12
"""Steps of the inversion, which leave an error of a thousandth of a face unit."""


def rotated(points: Floats, yaw_degrees: float) -> Floats:
    """Return where points (n, 2) of the frontal face are after a rotation, positive to the right of the image."""
    if yaw_degrees == 0.0:
        return points
    x, y = points[:, 0], points[:, 1]
    return np.stack([x + _shift(x, y, yaw_degrees), y], axis=1).astype(np.float32)


def unrotated(x: Floats, y: Floats, yaw_degrees: float) -> Floats:
    """Return the x of the frontal face that a rotation moves to places (x, y); it keeps y."""
    low, high = x - _REACH, x + _REACH
    for _ in range(_NUM_HALVINGS):
        middle = 0.5 * (low + high)
        is_left = middle + _shift(middle, y, yaw_degrees) < x
        low, high = np.where(is_left, middle, low), np.where(is_left, high, middle)
    return (0.5 * (low + high)).astype(np.float32)


def _shift(x: Floats, y: Floats, yaw_degrees: float) -> Floats:
    yaw = np.radians(yaw_degrees)
    face = 1.0 - ramp(np.abs(x), 0.7, 1.25)
    return (np.cos(yaw) - 1.0) * x * face + np.sin(yaw) * _depth(x, y)


def _depth(x: Floats, y: Floats) -> Floats:
    """Return the distance of the surface before the axis, in face units.

    The nose is as far before the brows as in `latentsync.face.head_pose`, whose mean face is that of real people.
    """
    skull = np.clip(1.0 - (x / 1.3) ** 2, 0.0, None) * np.exp(-0.5 * ((y - 0.55) / 1.5) ** 2)
    return skull + 0.2 * bump(x, y, (0.0, 0.59), (0.25, 0.3))
