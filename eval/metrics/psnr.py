"""PSNR: peak signal-to-noise ratio of the face crop, in dB."""

import sys

import numpy as np

from eval.face_clips import FaceClips, paired_batches
from eval.metrics.command import run_command
from eval.metrics.metric import FunctionMetric, Quantity, crops_with_reference
from eval.pairs import Pair
from latentsync.judges.crop_measures import mouth_region, psnr_db

CEILING_DB = 100.0
"""Value of equal images, so that a mean over frames stays meaningful."""


def frame_psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Return the PSNR in dB of two uint8 images, at most `CEILING_DB`."""
    return min(CEILING_DB, psnr_db(first, second))


def _measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
    face, mouth = [], []
    for ours, theirs in paired_batches(*crops_with_reference(pair, clips)):
        face += map(frame_psnr_db, ours, theirs)
        mouth += map(frame_psnr_db, mouth_region(ours), mouth_region(theirs))
    return {"psnr": float(np.mean(face)), "psnr_mouth": float(np.mean(mouth))}


METRIC = FunctionMetric(
    name="psnr",
    quantities=(
        Quantity(
            "psnr", "dB", True, "peak signal-to-noise ratio against the reference, face crop", None, ("reference",)
        ),
        Quantity("psnr_mouth", "dB", True, "the same in the mouth region", None, ("reference",)),
    ),
    description="peak signal-to-noise ratio (PSNR) against the reference",
    protocol=(
        "Published values are means over frames, often of whole frames. Ours: mean over frames of RGB PSNR on aligned "
        f"256 px face crops; equal images count as {CEILING_DB:.0f} dB."
    ),
    measure=_measure,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
