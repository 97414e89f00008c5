"""LPIPS (arXiv 1801.03924) with VGG-16 on the face crop: perceptual distance without a unit, 0 for equal images."""

import sys
from collections.abc import Callable

import numpy as np
import torch

from eval.face_clips import FaceClips, paired_batches
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity, crops_with_reference
from eval.pairs import Pair
from latentsync.judges.crop_measures import mouth_region, to_images
from latentsync.judges.perceptual_distance import load_vgg_lpips
from latentsync.weights import CHECKPOINTS

STRIDE_FRAMES = 5
"""Only every fifth frame is measured: adjacent frames give nearly equal values, and the networks are slow on a CPU."""

_BATCH = 4

Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps images and targets (n, 3, h, w) in [-1, 1] to distances (n,)."""


def perceptual_metric(name: str, distance: Distance, device: torch.device) -> LoadedMetric:
    """Return a metric that gives the mean distance from the reference over every fifth frame.

    Args:
        name: name of the value of the whole crop; that of the mouth region is `<name>_mouth`.
        distance: the network.
        device: device of the network.
    """

    @torch.inference_mode()
    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        face, mouth = [], []
        for crops in paired_batches(*crops_with_reference(pair, clips), _BATCH, STRIDE_FRAMES):
            for region, distances in ((crops, face), (map(mouth_region, crops), mouth)):
                ours, theirs = (to_images(part).to(device) for part in region)
                distances.append(distance(ours, theirs).float().cpu().numpy())
        return {name: float(np.concatenate(face).mean()), f"{name}_mouth": float(np.concatenate(mouth).mean())}

    return measure


METRIC = NetworkMetric(
    name="lpips",
    quantities=(
        Quantity("lpips", "", False, "LPIPS (VGG-16) to the reference, face crop", 0.0, ("reference",)),
        Quantity("lpips_mouth", "", False, "the same in the mouth region", 0.0, ("reference",)),
    ),
    description="perceptual distance (LPIPS) from the reference",
    protocol=(
        "Published values use LPIPS v0.1, many with AlexNet instead of VGG-16, on faces or whole frames of various "
        "sizes. Ours: VGG-16, aligned 256 px face crops, every fifth frame; the mouth at 96 x 80 px."
    ),
    files=(CHECKPOINTS / "auxiliary" / "vgg16-397923af.pth",),  # torchvision's VGG-16
    build=lambda files, device: perceptual_metric("lpips", load_vgg_lpips(files[0], device), device),
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
