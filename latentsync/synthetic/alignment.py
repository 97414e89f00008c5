"""Where the training crop of a known face lies: the published alignment rule for ground truth anchors.

The crop is 210 x 280 at 256 px, scaled with the resolution and then resized to a square, so x and y are stretched
differently. Kept apart from `latentsync.face` so that data is made without detectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from latentsync.synthetic.drawing import Floats

_TEMPLATE = np.array([(17.0, 20.0), (58.0, 20.0), (37.5, 40.0)]) * 2.8
_CROP_SIZE = np.array([210.0, 280.0])
_NEW_SHARE = 0.8


class CropCamera:
    """Cameras for successive frames of one clip; the translation bias is smoothed over them."""

    def __init__(self, resolution: int) -> None:
        self._resolution = resolution
        self._bias: np.ndarray | None = None

    def matrix(self, points: ArrayLike) -> Floats:
        """2x3 matrix from frame pixels to the square crop's pixels for anchors (3, 2)."""
        scale = self._resolution / 256.0
        similarity = self._similarity(np.asarray(points, dtype=np.float64), _TEMPLATE * scale)
        stretch = self._resolution / (_CROP_SIZE * scale)
        similarity[:, :2] *= stretch[:, None]
        similarity[:, 2] = (similarity[:, 2] + 0.5) * stretch - 0.5
        return similarity.astype(np.float32)

    def _similarity(self, points: np.ndarray, template: np.ndarray) -> np.ndarray:
        center, target = points.mean(axis=0), template.mean(axis=0)
        size, target_size = (points - center).std(ddof=1), (template - target).std(ddof=1)
        shape, wanted = (points - center) / size, (template - target) / target_size
        left, _, right = np.linalg.svd(shape.T @ wanted)
        linear = (target_size / size) * (left @ right).T
        bias = wanted[2] - shape[2]
        self._bias = bias if self._bias is None else _NEW_SHARE * bias + (1.0 - _NEW_SHARE) * self._bias
        return np.column_stack([linear, target - linear @ center + self._bias])
