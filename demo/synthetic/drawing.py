"""Drawing helpers: canvases in face units, soft masks, smooth noise and colour picking.

Face units: the distance between the eye centres is 1, x grows to the right of the image, y grows downwards and
the origin lies between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Canvas:
    """Rectangle (x0, y0) to (x1, y1) in face units with `density` pixels per unit."""

    x0: float
    y0: float
    x1: float
    y1: float
    density: float

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of its images."""
        return round((self.y1 - self.y0) * self.density), round((self.x1 - self.x0) * self.density)

    def grid(self) -> tuple[Floats, Floats]:
        """Return x and y (h, w) of the pixel centres in face units."""
        rows, columns = self.shape
        x = self.x0 + (np.arange(columns, dtype=np.float32) + 0.5) / self.density
        y = self.y0 + (np.arange(rows, dtype=np.float32) + 0.5) / self.density
        grid_x, grid_y = np.meshgrid(x, y)
        return grid_x.astype(np.float32), grid_y.astype(np.float32)

    def to_pixels(self, points: ArrayLike) -> Floats:
        """Convert points (n, 2) in face units to pixel positions (n, 2); pixel centres are whole numbers."""
        offset = np.array([self.x0, self.y0], dtype=np.float32)
        return ((np.asarray(points, dtype=np.float32) - offset) * self.density - 0.5).astype(np.float32)


@dataclass(frozen=True)
class Layer:
    """Drawn canvas: `image` is premultiplied RGBA, uint8 (h, w, 4)."""

    canvas: Canvas
    image: Bytes

    @staticmethod
    def from_color(canvas: Canvas, color: Floats, alpha: Floats) -> Layer:
        """Build a layer from a colour image (h, w, 3) or one colour (3,), and a coverage (h, w), all in [0, 1]."""
        image = np.empty((*alpha.shape, 4), dtype=np.float32)
        image[..., :3] = np.clip(color, 0.0, 1.0) * alpha[..., None]
        image[..., 3] = alpha
        return Layer(canvas, to_bytes(image))

    def sample(self, x: Floats, y: Floats) -> Bytes:
        """Return premultiplied RGBA (h, w, 4) at x, y (h, w) in face units; transparent outside the canvas."""
        density = np.float32(self.canvas.density)
        columns = (x - np.float32(self.canvas.x0)) * density - np.float32(0.5)
        rows = (y - np.float32(self.canvas.y0)) * density - np.float32(0.5)
        return np.asarray(cv2.remap(self.image, columns, rows, cv2.INTER_LINEAR), dtype=np.uint8)


def to_bytes(image: Floats) -> Bytes:
    """Convert values in [0, 1] to uint8."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def bump(x: Floats, y: Floats, center: tuple[float, float], spread: tuple[float, float]) -> Floats:
    """Return a Gaussian of height 1 at `center` with standard deviations `spread`."""
    return np.exp(-0.5 * (((x - center[0]) / spread[0]) ** 2 + ((y - center[1]) / spread[1]) ** 2)).astype(np.float32)


def ramp(values: Floats, low: float | Floats, high: float | Floats) -> Floats:
    """Return a smooth step from 0 at `low` to 1 at `high`, constant outside."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(np.float32)


def mix(first: Floats, second: Floats | float, amount: Floats) -> Floats:
    """Blend from `first` to `second`, (h, w, 3) or one colour (3,), by `amount` (h, w) in [0, 1]."""
    return (first + (second - first) * amount[..., None]).astype(np.float32)


def smooth_closed_curve(points: ArrayLike, steps: int = 24) -> Floats:
    """Return a closed Catmull-Rom curve (n * steps, 2) through control points (n, 2)."""
    p1 = np.asarray(points, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[:, None, :] for p in (p0, p1, p2, p3))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return curve.reshape(-1, 2).astype(np.float32)


def polygon_mask(canvas: Canvas, points: ArrayLike, blur: float = 0.0) -> Floats:
    """Return the antialiased coverage (h, w) of a polygon (n, 2) in face units, blurred by `blur` face units."""
    mask = np.zeros(canvas.shape, dtype=np.uint8)
    pixels = np.round(canvas.to_pixels(points) * 16.0).astype(np.int32)
    cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, shift=4)
    coverage = mask.astype(np.float32) / 255.0
    return soften(coverage, blur * canvas.density)


def line_mask(canvas: Canvas, points: ArrayLike, width: float, closed: bool = False) -> Floats:
    """Return the antialiased coverage (h, w) of a polyline (n, 2) of `width`, in face units."""
    mask = np.zeros(canvas.shape, dtype=np.uint8)
    pixels = np.round(canvas.to_pixels(points) * 16.0).astype(np.int32)
    cv2.polylines(mask, [pixels], closed, 255, max(1, round(width * canvas.density)), cv2.LINE_AA, shift=4)
    return mask.astype(np.float32) / 255.0


def soften(image: Floats, sigma: float) -> Floats:
    """Blur by a Gaussian of `sigma` pixels; return the image unchanged for sigma below 0.3."""
    if sigma < 0.3:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Return smooth noise (h, w) of mean 0 and deviation about 1, with about `cells` (rows, columns) bumps."""
    coarse = rng.standard_normal((cells[0] + 1, cells[1] + 1)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def random_color(rng: np.random.Generator, value: tuple[float, float] = (0.1, 1.0), saturation: float = 1.0) -> Floats:
    """Return a random RGB colour (3,) in [0, 1]: any hue, brightness in the range `value`, limited saturation."""
    hue, chroma = rng.uniform(0.0, 6.0), rng.uniform(0.0, saturation) ** 0.8
    wheel = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return ((1.0 - chroma * (1.0 - wheel)) * rng.uniform(*value)).astype(np.float32)


def pick(rng: np.random.Generator, table: dict[str, float]) -> str:
    """Return a random key of `table`, whose values are relative frequencies."""
    weights = np.array(list(table.values()))
    return list(table)[int(rng.choice(len(weights), p=weights / weights.sum()))]
