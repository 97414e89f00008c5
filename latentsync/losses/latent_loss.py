"""Latent loss: Huber distance between the clean estimate and target latents, optionally weighted towards the mouth."""

import torch
from torch.nn import functional as F

from latentsync.losses.epsilon_loss import mouth_weights
from latentsync.losses.loss_stack import Prediction


class LatentLoss:
    """Mean over items, frames, channels and latent pixels of the Huber loss divided by `huber_delta`.

    The division makes it the absolute error less half of `huber_delta` for large errors, at any `huber_delta`.

    Args:
        weight: factor in the weighted sum.
        resolution: side of the face crop in pixels, for the mask.
        huber_delta: absolute error above which the loss is linear.
        mouth_emphasis: in [0, 1]; interpolates between equal weights (0) and `mouth_weights` (1).
    """

    name = "latent"
    needs_pixels = False
    needs_target_pixels = False
    needs_mel = False

    def __init__(self, weight: float, resolution: int, huber_delta: float, mouth_emphasis: float = 0.0) -> None:
        self.weight = weight
        self.resolution = resolution
        self.huber_delta = huber_delta
        self.mouth_emphasis = mouth_emphasis

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the loss, scalar float32. Raises ValueError if the prediction has no target latents."""
        if prediction.target_latents is None:
            raise ValueError("the latent loss needs target latents")
        estimate, target = prediction.clean_estimate.float(), prediction.target_latents.float()
        errors = F.huber_loss(estimate, target, reduction="none", delta=self.huber_delta) / self.huber_delta
        if self.mouth_emphasis > 0:
            weights = mouth_weights(self.resolution, errors.shape[-1]).to(errors.device)
            errors = errors * (1 + self.mouth_emphasis * (weights - 1))
        return errors.mean()
