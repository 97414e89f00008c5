"""Picture quality of the face crop by hyperIQA (CVPR 2020): about 0 (bad) to 100 (good), without a unit."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from latentsync.judges.hyperiqa import QualityScorer, load_hyperiqa, scored_frames
from latentsync.weights import CHECKPOINTS


@dataclass(frozen=True)
class HyperIqaMetric(Metric):
    """Looks at the result only."""

    network: Path = CHECKPOINTS / "auxiliary" / "koniq_pretrained.pkl"

    name = "hyperiqa"
    figures = (Figure("hyperiqa", "", True, "quality without a reference, mean of first, middle and last frame"),)
    description = "picture quality without a reference (hyperIQA)"
    protocol = (
        "LatentSync's data threshold: mean of first, middle and last frame, the centre 224 px of the 256 px face crop. "
        "Ours is the same on frames that show the face; hyperIQA's authors average 10 to 25 random crops instead."
    )

    def weights(self) -> list[Path]:
        """hyperIQA trained on KonIQ-10k."""
        return [self.network]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        scorer = QualityScorer(load_hyperiqa(self.network, device))

        def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
            clip = clips.crops(sample.result, sample.source)
            shown = np.flatnonzero(clip.valid)
            return {"hyperiqa": scorer.score(clip.crops[shown[list(scored_frames(len(shown)))]])}

        return judge


METRIC = HyperIqaMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
