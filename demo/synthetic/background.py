"""Backgrounds of many colours, painted once per clip as an opaque RGB picture."""

from __future__ import annotations

import cv2
import numpy as np

from demo.synthetic.drawing import Bytes, Floats, random_color, smooth_noise, soften, to_bytes
from demo.synthetic.scene import Scene

BACKGROUND_SIZE = 512


def paint_background(scene: Scene) -> Bytes:
    """The background of `scene`: uint8 (512, 512, 3), to be stretched over the whole frame."""
    rng = np.random.default_rng(scene.seed)
    painters = {
        "gradient": _gradient, "blobs": _blobs, "leaves": _leaves, "window": _window, "shelves": _shelves,
        "bokeh": _bokeh, "wall": _wall,
    }  # fmt: skip
    picture = soften(painters[scene.background](rng), scene.blur)
    return to_bytes(picture)


def _gradient(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    corners = np.stack([random_color(rng) for _ in range(4)]).reshape(2, 2, 3)
    return np.clip(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)


def _blobs(rng: np.random.Generator) -> Floats:
    cells = int(rng.integers(2, 7))
    coarse = np.stack([random_color(rng) for _ in range(cells * cells)]).reshape(cells, cells, 3)
    picture = cv2.resize(coarse, (BACKGROUND_SIZE, BACKGROUND_SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 1).astype(np.float32)


def _leaves(rng: np.random.Generator) -> Floats:
    """Dead leaves: discs and boxes of all sizes and colours covering one another."""
    picture = _gradient(rng)
    for _ in range(int(rng.integers(150, 500))):
        color = tuple(float(v) for v in random_color(rng, (0.05, 1.0)))
        x, y = (int(v) for v in rng.integers(0, BACKGROUND_SIZE, 2))
        radius = int(np.clip(8.0 / max(rng.random(), 0.03) ** 0.8, 6, 110))
        if rng.random() < 0.5:
            cv2.circle(picture, (x, y), radius, color, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints(((x, y), (radius * 2.0, radius * rng.uniform(0.5, 2.0)), rng.uniform(0, 180)))
            cv2.fillPoly(picture, [np.round(box).astype(np.int32)], color, cv2.LINE_AA)
    return picture


def _window(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    picture = np.broadcast_to(random_color(rng, (0.2, 0.9), 0.7), (size, size, 3)).astype(np.float32).copy()
    sky, ground = random_color(rng, (0.8, 1.0), 0.6), random_color(rng, (0.2, 0.7))
    left, top = int(rng.integers(-150, 200)), int(rng.integers(-60, 100))
    width, height = int(rng.integers(160, 360)), int(rng.integers(220, 420))
    fade = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    view = np.where(fade < rng.uniform(0.3, 0.7), sky, ground).astype(np.float32) * np.ones((1, size, 1), np.float32)
    y0, y1, x0, x1 = max(top, 0), max(top + height, 1), max(left, 0), max(left + width, 1)
    picture[y0:y1, x0:x1] = view[y0:y1, x0:x1]
    frame = tuple(float(v) for v in random_color(rng, (0.3, 1.0), 0.4))
    for x in (left, left + width // 2, left + width):
        cv2.line(picture, (x, top), (x, top + height), frame, 10, cv2.LINE_AA)
    for y in (top, top + height // 2, top + height):
        cv2.line(picture, (left, y), (left + width, y), frame, 10, cv2.LINE_AA)
    return picture


def _shelves(rng: np.random.Generator) -> Floats:
    size = BACKGROUND_SIZE
    picture = np.broadcast_to(random_color(rng, (0.08, 0.6)), (size, size, 3)).astype(np.float32).copy()
    wood = tuple(float(v) for v in random_color(rng, (0.2, 0.8), 0.7))
    pitch = int(rng.integers(80, 150))
    for shelf in range(int(rng.integers(0, pitch)), size + pitch, pitch):
        x = 0
        while x < size:
            width, height = int(rng.integers(8, 34)), int(rng.integers(pitch // 2, pitch - 10))
            color = tuple(float(v) for v in random_color(rng, (0.1, 1.0)))
            if rng.random() < 0.9:
                cv2.rectangle(picture, (x, shelf - height), (x + width, shelf), color, -1)
            x += width + int(rng.integers(0, 4))
        cv2.rectangle(picture, (0, shelf), (size, shelf + 9), wood, -1)
    return picture


def _bokeh(rng: np.random.Generator) -> Floats:
    picture = _gradient(rng) * rng.uniform(0.2, 0.8)
    for _ in range(int(rng.integers(15, 50))):
        glow = np.zeros_like(picture)
        x, y = (int(v) for v in rng.integers(0, BACKGROUND_SIZE, 2))
        color = tuple(float(v) for v in random_color(rng, (0.4, 1.0)))
        cv2.circle(glow, (x, y), int(rng.integers(10, 50)), color, -1, cv2.LINE_AA)
        picture += glow * rng.uniform(0.2, 0.8)
    return np.clip(picture, 0, 1).astype(np.float32)


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
