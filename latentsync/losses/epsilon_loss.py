"""Mean squared error of the predicted noise, with optional emphasis on the mouth and on high noise."""

from functools import lru_cache

import torch

from latentsync.diffusion.one_step import signal_to_noise
from latentsync.diffusion.scheduler import build_scheduler
from latentsync.face.mask import latent_mask
from latentsync.losses.prediction import Prediction

_MOUTH_CENTRE = (0.5, 0.68)
_MOUTH_SIZE = (0.2, 0.16)
_MOUTH_GAIN = 4.0
_KEPT_WEIGHT = 0.3


class EpsilonLoss:
    """Mean over items, frames, channels and cells; with both emphases 0 the published plain MSE.

    Args:
        weight: share in the sum of terms.
        resolution: side of the face crop in pixels, for the mask.
        mouth_emphasis: in [0, 1]: 0 weighs all cells alike, 1 as `cell_weights`.
        high_noise_emphasis: at least 0: the cap of what is added at high noise, see `timestep_weights`.
    """

    name = "epsilon"
    needs_pixels = False
    needs_target_pixels = False
    needs_mel = False

    def __init__(
        self, weight: float, resolution: int, mouth_emphasis: float = 0.0, high_noise_emphasis: float = 0.0
    ) -> None:
        self.weight = weight
        self.resolution = resolution
        self.mouth_emphasis = mouth_emphasis
        self.item_weights = timestep_weights(high_noise_emphasis) if high_noise_emphasis > 0 else None

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Scalar float32."""
        squared = (prediction.predicted_noise.float() - prediction.noise.float()).square()
        if self.mouth_emphasis > 0:
            cells = cell_weights(self.resolution, squared.shape[-1]).to(squared.device)
            squared = squared * (1 + self.mouth_emphasis * (cells - 1))
        per_item = squared.flatten(1).mean(1)
        if self.item_weights is not None:
            per_item = per_item * self.item_weights.to(squared.device)[prediction.timestep]
        return per_item.mean()


@lru_cache(maxsize=4)
def cell_weights(resolution: int, latent_size: int) -> torch.Tensor:
    """Weights (h, w) of mean 1: most in the mouth, full in the generated region, little where pixels are kept.

    Do not write to the result, it is shared.
    """
    steps = torch.linspace(0, 1, latent_size)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    distance = ((x - _MOUTH_CENTRE[0]) / _MOUTH_SIZE[0]) ** 2 + ((y - _MOUTH_CENTRE[1]) / _MOUTH_SIZE[1]) ** 2
    generated = 1 - latent_mask(resolution, latent_size)
    weights = _KEPT_WEIGHT + generated * (1 + _MOUTH_GAIN * torch.exp(-distance))
    return weights / weights.mean()


def timestep_weights(cap: float) -> torch.Tensor:
    """(1000,) weights 1 + min(1 / SNR, cap), scaled to mean 1 over all timesteps of the published schedule.

    Epsilon MSE says little about the clean picture where noise is high, yet sampling starts there; this asks for more.
    """
    inverse = 1 / signal_to_noise(build_scheduler("ddim").alphas_cumprod)
    weights = 1 + inverse.clamp(max=cap)
    return weights / weights.mean()
