"""One person of a scene who turns the head away for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.synthetic.drawing import Floats

_HELD_S = (1.0, 2.0)
_TURNING_S = 0.4
"""Time of the way there, and of the way back."""


@dataclass(frozen=True)
class HeadTurn:
    """Turn of person 0 or 1.

    Attributes:
        person: who turns.
        yaw_degrees: of the head while it is turned, positive to the right of the image.
        start_s, stop_s: time in which the head is turned by all of it; before and after, it is on its way.
    """

    person: int
    yaw_degrees: float
    start_s: float
    stop_s: float

    @classmethod
    def random(cls, rng: np.random.Generator, degrees: float, duration_s: float) -> HeadTurn:
        """Return a turn by `degrees` to a random side in a scene of `duration_s`, shorter where the scene is short."""
        person, side = int(rng.integers(2)), float(rng.choice([-1.0, 1.0]))
        held = min(float(rng.uniform(*_HELD_S)), 0.4 * duration_s)
        start = float(rng.uniform(0.25 * duration_s, 0.75 * duration_s - held))
        return cls(person, side * degrees, start, start + held)

    def yaw_at(self, times_s: Floats) -> Floats:
        """Return the yaw (n,) in degrees at times (n,)."""
        knots = (self.start_s - _TURNING_S, self.start_s, self.stop_s, self.stop_s + _TURNING_S)
        way = np.interp(times_s, knots, (0.0, 1.0, 1.0, 0.0))
        return (self.yaw_degrees * way * way * (3.0 - 2.0 * way)).astype(np.float32)
