"""Stand-in for LPIPS without a download, on the demo VAE's encoder: without a unit, 0 for equal images, at most 4."""

import sys
from pathlib import Path

import torch

from eval.metrics.command import run_command
from eval.metrics.lpips import perceptual_metric
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity
from latentsync.judges.perceptual_distance import VaeEncoderDistance
from latentsync.models.vae import load_vae
from latentsync.weights import CHECKPOINTS

_VAE = CHECKPOINTS / "demo" / "vae"


def _build(files: tuple[Path, ...], device: torch.device) -> LoadedMetric:
    distance = VaeEncoderDistance(load_vae(files[0].parent, device).vae.encoder)
    return perceptual_metric("vae_distance", distance, device)


METRIC = NetworkMetric(
    name="vae_distance",
    quantities=(
        Quantity(
            "vae_distance", "", False, "distance of VAE features from the reference, face crop", 0.0, ("reference",)
        ),
        Quantity("vae_distance_mouth", "", False, "the same in the mouth region", 0.0, ("reference",)),
    ),
    description="stand-in for LPIPS on the features of the demo VAE's encoder",
    protocol=(
        "No published value is comparable: this is the formula of LPIPS on the features of this repository's demo VAE, "
        "for use without VGG-16. Every fifth frame, aligned 256 px face crops."
    ),
    files=(_VAE / "config.json", _VAE / "diffusion_pytorch_model.safetensors"),
    build=_build,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
