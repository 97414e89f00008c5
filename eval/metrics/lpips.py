"""LPIPS (arXiv 1801.03924) with VGG-16 on the face crop: how unlike two pictures look, without a unit, 0 for equals."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric
from eval.perceptual_judge import perceptual_judge
from latentsync.judges.perceptual_distance import load_vgg_lpips
from latentsync.weights import CHECKPOINTS


@dataclass(frozen=True)
class LpipsMetric(Metric):
    """Needs a reference; `backbone` is torchvision's VGG-16."""

    backbone: Path = CHECKPOINTS / "auxiliary" / "vgg16-397923af.pth"

    name = "lpips"
    figures = (
        Figure("lpips", "", False, "LPIPS (VGG-16) to the reference, face crop", 0.0, ("reference",)),
        Figure("lpips_mouth", "", False, "the same in the mouth region", 0.0, ("reference",)),
    )
    description = "perceptual distance (LPIPS) from the reference"
    protocol = (
        "Published figures use LPIPS v0.1, many with AlexNet instead of VGG-16, on faces or whole frames of various "
        "sizes. Ours: VGG-16, aligned 256 px face crops, every fifth frame; the mouth at 96 x 80 px."
    )

    def weights(self) -> list[Path]:
        """VGG-16."""
        return [self.backbone]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        return perceptual_judge(load_vgg_lpips(self.backbone, device), device, "lpips", "lpips_mouth")


METRIC = LpipsMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
