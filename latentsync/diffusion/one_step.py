"""Clean latents estimated in one step from predicted noise, and the signal-to-noise ratio of the schedule."""

import torch


def estimate_clean(
    noisy: torch.Tensor, predicted_noise: torch.Tensor, timestep: torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """The clean latents that would have given `noisy` if the predicted noise were right (arXiv 2006.11239, eq. 15).

    clean = (noisy - sqrt(1 - a) noise) / sqrt(a) with a = alphas_cumprod[timestep].

    Args:
        noisy: (b, ...) latents at their timestep.
        predicted_noise: of the same shape; gradients flow through it.
        timestep: (b,) int64.
        alphas_cumprod: (timesteps,) of the noise schedule.

    Returns:
        float32 of the shape of `noisy`.
    """
    alpha = alphas_cumprod.to(noisy.device, torch.float32)[timestep].reshape(-1, *[1] * (noisy.ndim - 1))
    return (noisy.float() - (1 - alpha).sqrt() * predicted_noise.float()) / alpha.sqrt()


def signal_to_noise(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """(timesteps,) ratio of the variances of signal and noise at every timestep, a / (1 - a)."""
    return alphas_cumprod / (1 - alphas_cumprod)
