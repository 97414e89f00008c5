"""SSIM: structural similarity of the face crop (Wang et al. 2004), without a unit, 1 for equal images."""

import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.face_clips import FaceClips, paired_batches
from eval.metrics.command import run_command
from eval.metrics.metric import FunctionMetric, Quantity, crops_with_reference
from eval.pairs import Pair
from latentsync.judges.crop_measures import mouth_region

_SIGMA, _WINDOW = 1.5, 11
_DATA_RANGE = 255.0
_C1, _C2 = (0.01 * _DATA_RANGE) ** 2, (0.03 * _DATA_RANGE) ** 2
_BORDER = _WINDOW // 2
_INSIDE = slice(_BORDER, -_BORDER)


def ssim_map(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Return the similarity (h, w, c) in [-1, 1] of two images (h, w, c) in 0...255.

    Parameters are the authors': a Gaussian window of 11 pixels with sigma 1.5, K1 0.01, K2 0.03. Within 5 pixels of the
    border the image is mirrored; the published mean excludes these pixels.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return np.asarray(luminance * structure, dtype=np.float64)


def ssim(first: NDArray, second: NDArray) -> float:
    """Return the mean similarity of two images (h, w, c) in 0...255, each at least 11 pixels wide and high."""
    return float(ssim_map(first, second)[_INSIDE, _INSIDE].mean())


def _blurred(image: NDArray[np.float64]) -> NDArray[np.float64]:
    blurred = cv2.GaussianBlur(image, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, dtype=np.float64).reshape(image.shape)


def _measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
    face, mouth = [], []
    for ours, theirs in paired_batches(*crops_with_reference(pair, clips)):
        for similarity in map(ssim_map, ours, theirs):
            face.append(similarity[_INSIDE, _INSIDE].mean())
            mouth.append(mouth_region(similarity[None]).mean())
    return {"ssim": float(np.mean(face)), "ssim_mouth": float(np.mean(mouth))}


METRIC = FunctionMetric(
    name="ssim",
    quantities=(
        Quantity("ssim", "", True, "structural similarity to the reference, face crop", 1.0, ("reference",)),
        Quantity("ssim_mouth", "", True, "the same in the mouth region", 1.0, ("reference",)),
    ),
    description="structural similarity (SSIM) to the reference",
    protocol=(
        "Published values are SSIM with the 11 px Gaussian window, some on grey images, some on whole frames, which "
        "favours a method that generates only the mouth. Ours: mean over RGB channels and all frames with a face, on "
        "aligned 256 px face crops; the mouth is 96 x 80 of these pixels."
    ),
    measure=_measure,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
