"""Random scenes: background, light and colour grade around a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from demo.synthetic.drawing import pick, random_color

BACKGROUNDS = {
    "gradient": 2.0, "blobs": 2.0, "leaves": 2.0, "window": 1.5, "shelves": 1.5, "bokeh": 1.5, "wall": 1.5,
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Surroundings of a person. Light points from the face to the lamp (x right, y down, z to the viewer)."""

    seed: int
    background: str
    blur: float
    light: tuple[float, float, float]
    key: tuple[float, float, float]
    ambient: tuple[float, float, float]
    gamma: float
    gain: tuple[float, float, float]
    saturation: float

    @staticmethod
    def random(rng: np.random.Generator) -> Scene:
        """Draw a scene."""
        side, height = rng.normal(0.0, 0.55), rng.normal(-0.35, 0.3)
        light = np.array([side, height, rng.uniform(0.7, 1.2)])
        light /= np.linalg.norm(light)
        strength = rng.uniform(0.45, 0.75)
        warm = rng.normal(0.0, 0.06)
        tint = 1.0 + warm * np.array([1.0, 0.1, -1.0])
        if rng.random() < 0.15:
            tint = 0.65 * tint + 0.35 * random_color(rng, (0.9, 1.3), 0.8)
        cool = 1.0 - 0.6 * warm * np.array([1.0, 0.0, -1.0]) + rng.normal(0.0, 0.02, 3)
        gain = 1.0 + rng.normal(0.0, 0.035, 3)
        return Scene(
            seed=int(rng.integers(2**31)),
            background=pick(rng, BACKGROUNDS),
            blur=float(rng.uniform(0.5, 8.0)),
            light=_triple(light),
            key=_triple(tint * strength * rng.uniform(0.92, 1.10)),
            ambient=_triple(cool * (1.13 - strength)),
            gamma=float(np.exp(rng.normal(0.0, 0.12))),
            gain=_triple(gain * rng.uniform(0.92, 1.06)),
            saturation=float(rng.uniform(0.85, 1.2)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
