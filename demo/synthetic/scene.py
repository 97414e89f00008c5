"""Random scenes: light, colour grade and background of a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from demo.synthetic.drawing import Bytes, Floats, pick, random_color, smooth_noise, soften, to_bytes

BACKGROUNDS = {
    "gradient": 2.0, "blobs": 2.0, "leaves": 2.0, "window": 1.5, "shelves": 1.5, "bokeh": 1.5, "wall": 1.5,
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Background, light and colour grade.

    `light` points from the face to the lamp (x right, y down, z to the viewer).
    """

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
        """Return a random scene."""
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
        """Return plain values for JSON."""
        return asdict(self)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


BACKGROUND_SIZE = 512


def draw_background(scene: Scene) -> Bytes:
    """Draw the background of a scene, uint8 (512, 512, 3) RGB; it is stretched over the full frame."""
    rng = np.random.default_rng(scene.seed)
    draw_functions = {
        "gradient": _gradient, "blobs": _blobs, "leaves": _leaves, "window": _window, "shelves": _shelves,
        "bokeh": _bokeh, "wall": _wall,
    }  # fmt: skip
    image = soften(draw_functions[scene.background](rng), scene.blur)
    return to_bytes(image)


def _gradient(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    corners = np.stack([random_color(rng) for _ in range(4)]).reshape(2, 2, 3)
    return np.clip(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)


def _blobs(rng: np.random.Generator) -> Floats:
    cells = int(rng.integers(2, 7))
    coarse = np.stack([random_color(rng) for _ in range(cells * cells)]).reshape(cells, cells, 3)
    image = cv2.resize(coarse, (BACKGROUND_SIZE, BACKGROUND_SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 1).astype(np.float32)


def _leaves(rng: np.random.Generator) -> Floats:
    """Dead leaves: overlapping discs and boxes of all sizes and colours."""
    image = _gradient(rng)
    for _ in range(int(rng.integers(150, 500))):
        color = tuple(float(v) for v in random_color(rng, (0.05, 1.0)))
        x, y = (int(v) for v in rng.integers(0, BACKGROUND_SIZE, 2))
        radius = int(np.clip(8.0 / max(rng.random(), 0.03) ** 0.8, 6, 110))
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), radius, color, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints(((x, y), (radius * 2.0, radius * rng.uniform(0.5, 2.0)), rng.uniform(0, 180)))
            cv2.fillPoly(image, [np.round(box).astype(np.int32)], color, cv2.LINE_AA)
    return image


def _window(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    image = np.broadcast_to(random_color(rng, (0.2, 0.9), 0.7), (size, size, 3)).astype(np.float32).copy()
    sky, ground = random_color(rng, (0.8, 1.0), 0.6), random_color(rng, (0.2, 0.7))
    left, top = int(rng.integers(-150, 200)), int(rng.integers(-60, 100))
    width, height = int(rng.integers(160, 360)), int(rng.integers(220, 420))
    fade = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    view = np.where(fade < rng.uniform(0.3, 0.7), sky, ground).astype(np.float32) * np.ones((1, size, 1), np.float32)
    y0, y1, x0, x1 = max(top, 0), max(top + height, 1), max(left, 0), max(left + width, 1)
    image[y0:y1, x0:x1] = view[y0:y1, x0:x1]
    frame = tuple(float(v) for v in random_color(rng, (0.3, 1.0), 0.4))
    for x in (left, left + width // 2, left + width):
        cv2.line(image, (x, top), (x, top + height), frame, 10, cv2.LINE_AA)
    for y in (top, top + height // 2, top + height):
        cv2.line(image, (left, y), (left + width, y), frame, 10, cv2.LINE_AA)
    return image


def _shelves(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    image = np.broadcast_to(random_color(rng, (0.08, 0.6)), (size, size, 3)).astype(np.float32).copy()
    wood = tuple(float(v) for v in random_color(rng, (0.2, 0.8), 0.7))
    pitch = int(rng.integers(80, 150))
    for shelf in range(int(rng.integers(0, pitch)), size + pitch, pitch):
        x = 0
        while x < size:
            width, height = int(rng.integers(8, 34)), int(rng.integers(pitch // 2, pitch - 10))
            color = tuple(float(v) for v in random_color(rng, (0.1, 1.0)))
            if rng.random() < 0.9:
                cv2.rectangle(image, (x, shelf - height), (x + width, shelf), color, -1)
            x += width + int(rng.integers(0, 4))
        cv2.rectangle(image, (0, shelf), (size, shelf + 9), wood, -1)
    return image


def _bokeh(rng: np.random.Generator) -> Floats:
    image = _gradient(rng) * rng.uniform(0.2, 0.8)
    for _ in range(int(rng.integers(15, 50))):
        glow = np.zeros_like(image)
        x, y = (int(v) for v in rng.integers(0, BACKGROUND_SIZE, 2))
        color = tuple(float(v) for v in random_color(rng, (0.4, 1.0)))
        cv2.circle(glow, (x, y), int(rng.integers(10, 50)), color, -1, cv2.LINE_AA)
        image += glow * rng.uniform(0.2, 0.8)
    return np.clip(image, 0, 1).astype(np.float32)


def _wall(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    first, second = random_color(rng, (0.2, 1.0)), random_color(rng, (0.2, 1.0))
    period = rng.uniform(20, 120)
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    y, x = np.mgrid[:size, :size].astype(np.float32)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    amount = 1 / (1 + np.exp(-wave * 12)) * rng.uniform(0.1, 1.0)
    light = 1.0 + 0.12 * smooth_noise(rng, (size, size), (3, 3))
    return np.clip((first + (second - first) * amount[..., None]) * light[..., None], 0, 1).astype(np.float32)
