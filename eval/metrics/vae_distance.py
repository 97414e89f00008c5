"""A stand-in for LPIPS without a download, on the demo VAE's encoder: without a unit, 0 for equals, at most 4."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric
from eval.perceptual_judge import perceptual_judge
from latentsync.judges.perceptual_distance import VaeEncoderDistance
from latentsync.models.vae import load_vae
from latentsync.weights import CHECKPOINTS


@dataclass(frozen=True)
class VaeDistanceMetric(Metric):
    """Needs a reference; `vae` is a folder of a diffusers AutoencoderKL."""

    vae: Path = CHECKPOINTS / "demo" / "vae"

    name = "vae_distance"
    figures = (
        Figure(
            "vae_distance", "", False, "distance of VAE features from the reference, face crop", 0.0, ("reference",)
        ),
        Figure("vae_distance_mouth", "", False, "the same in the mouth region", 0.0, ("reference",)),
    )
    description = "stand-in for LPIPS on the features of the demo VAE's encoder"
    protocol = (
        "Nothing published compares with it: it is LPIPS' formula on the features of this repository's demo VAE, for "
        "where VGG-16 is not at hand. Every fifth frame, aligned 256 px face crops."
    )

    def weights(self) -> list[Path]:
        """The VAE's two files."""
        return [self.vae / "config.json", self.vae / "diffusion_pytorch_model.safetensors"]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        distance = VaeEncoderDistance(load_vae(self.vae, device).vae.encoder)
        return perceptual_judge(distance, device, "vae_distance", "vae_distance_mouth")


METRIC = VaeDistanceMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
