"""PSNR: peak signal-to-noise ratio of the face crop, in dB."""

import sys

import numpy as np
import torch
from numpy.typing import NDArray

from eval.face_clips import FaceClips, paired_chunks
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from latentsync.judges.crop_measures import mouth_region

CEILING_DB = 100.0
"""What equal pictures get, so that a mean stays finite."""


def psnr_db(first: NDArray, second: NDArray) -> float:
    """PSNR in dB of two pictures, or stacks of them, of any one shape in 0...255; at most `CEILING_DB`."""
    error = float(np.square(first.astype(np.float64) - second.astype(np.float64)).mean())
    return CEILING_DB if error == 0 else min(CEILING_DB, 10 * float(np.log10(255**2 / error)))


def _judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
    result = clips.crops(sample.result, sample.source)
    reference = clips.crops(sample.required_reference(), sample.source)
    face, mouth = [], []
    for ours, theirs in paired_chunks(result, reference):
        face += [psnr_db(first, second) for first, second in zip(ours, theirs, strict=True)]
        mouths = zip(mouth_region(ours), mouth_region(theirs), strict=True)
        mouth += [psnr_db(first, second) for first, second in mouths]
    return {"psnr": float(np.mean(face)), "psnr_mouth": float(np.mean(mouth))}


class PsnrMetric(Metric):
    """Needs a reference."""

    name = "psnr"
    figures = (
        Figure("psnr", "dB", True, "peak signal-to-noise ratio against the reference, face crop", None, ("reference",)),
        Figure("psnr_mouth", "dB", True, "the same in the mouth region", None, ("reference",)),
    )
    description = "peak signal-to-noise ratio (PSNR) against the reference"
    protocol = (
        "Published figures are means over frames, often of whole frames. Ours: mean over frames of RGB PSNR on aligned "
        f"256 px face crops; equal pictures count as {CEILING_DB:.0f} dB."
    )

    def load(self, device: torch.device) -> Judge:
        """Nothing is loaded; it runs on the CPU."""
        return _judge


METRIC = PsnrMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
