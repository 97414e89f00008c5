"""SSIM: structural similarity of the face crop (Wang et al. 2004), without a unit, 1 for equal pictures."""

import sys

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from eval.face_clips import FaceClips, paired_chunks
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from latentsync.judges.crop_measures import mouth_region

_SIGMA, _WINDOW = 1.5, 11
_DATA_RANGE = 255.0
_C1, _C2 = (0.01 * _DATA_RANGE) ** 2, (0.03 * _DATA_RANGE) ** 2
_BORDER = _WINDOW // 2


def ssim_map(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """Similarity (h, w, c) in [-1, 1] of two pictures (h, w, c) in 0...255.

    The authors' setting: a Gaussian window of 11 pixels and sigma 1.5, K1 0.01, K2 0.03. Within 5 pixels of the border
    the picture is mirrored; the published mean leaves these out.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return np.asarray(luminance * structure, dtype=np.float64)


def ssim(first: NDArray, second: NDArray) -> float:
    """Mean similarity of two pictures (h, w, c) in 0...255, 11 pixels wide and high at least."""
    inside = slice(_BORDER, -_BORDER)
    return float(ssim_map(first, second)[inside, inside].mean())


def _blurred(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    blurred = cv2.GaussianBlur(picture, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, dtype=np.float64).reshape(picture.shape)


def _judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
    result = clips.crops(sample.result, sample.source)
    reference = clips.crops(sample.required_reference(), sample.source)
    inside = slice(_BORDER, -_BORDER)
    face, mouth = [], []
    for ours, theirs in paired_chunks(result, reference):
        for first, second in zip(ours, theirs, strict=True):
            similarity = ssim_map(first, second)
            face.append(similarity[inside, inside].mean())
            mouth.append(mouth_region(similarity[None]).mean())
    return {"ssim": float(np.mean(face)), "ssim_mouth": float(np.mean(mouth))}


class SsimMetric(Metric):
    """Needs a reference."""

    name = "ssim"
    figures = (
        Figure("ssim", "", True, "structural similarity to the reference, face crop", 1.0, ("reference",)),
        Figure("ssim_mouth", "", True, "the same in the mouth region", 1.0, ("reference",)),
    )
    description = "structural similarity (SSIM) to the reference"
    protocol = (
        "Published figures are SSIM with the 11 px Gaussian window, some on grey pictures, some on whole frames, which "
        "flatter a method that paints only the mouth. Ours: mean over RGB channels and all frames with a face, on "
        "aligned 256 px face crops; the mouth is 96 x 80 of these pixels."
    )

    def load(self, device: torch.device) -> Judge:
        """Nothing is loaded; it runs on the CPU."""
        return _judge


METRIC = SsimMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
