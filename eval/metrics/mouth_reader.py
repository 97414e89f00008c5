"""Correlation over time of mouth opening and width with the reference's (-1 to 1), for synthetic people only."""

import sys
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips, common_frames, paired_batches
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity, crops_with_reference
from eval.pairs import Pair
from latentsync.errors import NotMeasured
from latentsync.judges.crop_measures import correlation
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.weights import CHECKPOINTS

_MIN_FRAMES = 10
_BATCH = 32


def _build(files: tuple[Path, ...], device: torch.device) -> LoadedMetric:
    reader = load_mouth_reader(files[0], device)  # opening (0 closed, 1 wide open), width (0.5 neutral)

    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        result, reference = crops_with_reference(pair, clips)
        num_frames = len(common_frames(result, reference))
        if num_frames < _MIN_FRAMES:
            raise NotMeasured(f"only {num_frames} frames show the face: a correlation needs {_MIN_FRAMES}")
        mouths = [[read_mouth(reader, part) for part in crops] for crops in paired_batches(result, reference, _BATCH)]
        ours, theirs = (np.concatenate(parts) for parts in zip(*mouths, strict=True))
        return {
            "mouth_opening": correlation(ours[:, 0], theirs[:, 0]),
            "mouth_width": correlation(ours[:, 1], theirs[:, 1]),
            "mouth_opening_error": float(np.abs(ours[:, 0] - theirs[:, 0]).mean()),
        }

    return measure


METRIC = NetworkMetric(
    name="mouth_reader",
    quantities=(
        Quantity(
            "mouth_opening", "", True, "correlation over time of the opening with the reference's", 1.0, ("reference",)
        ),
        Quantity(
            "mouth_width", "", True, "correlation over time of the width with the reference's", 1.0, ("reference",)
        ),
        Quantity("mouth_opening_error", "", False, "mean absolute error of the opening (0...1)", 0.0, ("reference",)),
    ),
    description="mouth opening and width against the reference (stand-in for LMD, synthetic people only)",
    protocol=(
        "Stand-in for the landmark distance (`lmd`) if its weights are missing: a small network of this repository, "
        "trained on rendered people whose mouth shapes are known. It is meaningless on real people. No published value "
        "is comparable."
    ),
    files=(CHECKPOINTS / "demo" / "mouth_reader.pt",),
    build=_build,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
