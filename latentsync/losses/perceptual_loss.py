"""How unlike the real frames the predicted ones look, on their lower half."""

from typing import Protocol

import torch

from latentsync.losses.prediction import Prediction
from latentsync.losses.sync_loss import lower_half


class PerceptualDistance(Protocol):
    """`latentsync.judges.vgg_lpips.VggLpips`, or its stand-in `latentsync.judges.vae_distance.VaeEncoderDistance`."""

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Images and targets (n, 3, h, w) in [-1, 1] to distances (n,)."""
        ...


class PerceptualLoss:
    """Mean distance between the lower halves of predicted and real frames."""

    name = "perceptual"
    needs_pixels = True
    needs_target_pixels = True
    needs_mel = False

    def __init__(self, weight: float, distance: PerceptualDistance):
        self.weight = weight
        self.distance = distance

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Scalar float32."""
        if prediction.target_pixels is None:
            raise ValueError("the perceptual loss wants the real frames")
        seen, real = (lower_half(frames).flatten(0, 1) for frames in (prediction.pixels, prediction.target_pixels))
        return self.distance(seen, real).float().mean()
