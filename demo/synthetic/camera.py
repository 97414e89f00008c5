"""Faults of a camera and of its file: soft focus, sensor noise, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from demo.synthetic.drawing import Bytes, Floats


@dataclass(frozen=True)
class Camera:
    """What a camera does to the pixels of every frame.

    Attributes:
        blur: deviation of the focus, in pixels.
        noise: deviation of the sensor's noise, in levels of 255.
        noise_size: deviation of its grain, in pixels.
        quality: of the JPEG compression, 1 to 100; None: none.
    """

    blur: float = 0.0
    noise: float = 0.0
    noise_size: float = 0.0
    quality: int | None = None

    @staticmethod
    def random(rng: np.random.Generator) -> Camera:
        """Return a random camera; about one in four is perfect."""
        if rng.random() < 0.25:
            return Camera()
        return Camera(
            blur=float(max(0.0, rng.uniform(-0.4, 1.0))),
            noise=float(max(0.0, rng.uniform(-2.0, 4.0))),
            noise_size=float(rng.uniform(0.0, 0.8)),
            quality=int(rng.integers(40, 96)) if rng.random() < 0.6 else None,
        )

    def expose(self, image: Bytes, rng: np.random.Generator) -> Bytes:
        """Return an RGB image (h, w, 3) as this camera stores it; `rng` draws the noise."""
        result: Floats = image.astype(np.float32)
        if self.blur >= 0.3:
            result = np.asarray(cv2.GaussianBlur(result, (0, 0), self.blur), dtype=np.float32)
        if self.noise > 0.0:
            result = result + self._grain(rng, (image.shape[0], image.shape[1]))
        pixels = np.clip(result + 0.5, 0.0, 255.0).astype(np.uint8)
        if self.quality is None:
            return pixels
        _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)

    def _grain(self, rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        """Return noise (h, w, 3), the same in all channels up to a third."""
        grain = rng.standard_normal((*shape, 1)) + 0.5 * rng.standard_normal((*shape, 3))
        if self.noise_size >= 0.3:
            smooth = cv2.GaussianBlur(grain, (0, 0), self.noise_size)
            grain = smooth * (grain.std() / smooth.std())
        return (self.noise / 1.12 * grain).astype(np.float32)
