"""Image quality of the face crop by hyperIQA (CVPR 2020): about 0 (bad) to 100 (good), without a unit."""

import sys
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity
from eval.pairs import Pair
from latentsync.judges.hyperiqa import QualityScorer, load_hyperiqa, scored_frames
from latentsync.weights import CHECKPOINTS


def _build(files: tuple[Path, ...], device: torch.device) -> LoadedMetric:
    scorer = QualityScorer(load_hyperiqa(files[0], device))

    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        clip = clips.of_result(pair)
        valid = np.flatnonzero(clip.valid)
        return {"hyperiqa": scorer.score(clip.crops[valid[list(scored_frames(len(valid)))]])}

    return measure


METRIC = NetworkMetric(
    name="hyperiqa",
    quantities=(Quantity("hyperiqa", "", True, "quality without a reference, mean of first, middle and last frame"),),
    description="image quality without a reference (hyperIQA)",
    protocol=(
        "As in LatentSync's data filter: mean of first, middle and last frame, centre 224 px of the 256 px crop. "
        "Ours is the same, on frames that show the face. The authors of hyperIQA average 10 to 25 random crops instead."
    ),
    files=(CHECKPOINTS / "auxiliary" / "koniq_pretrained.pkl",),  # trained on KonIQ-10k
    build=_build,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
