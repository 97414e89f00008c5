"""Forward diffusion: Gaussian noise for windows of latents, x0 prediction, and the signal-to-noise ratio.

Noise is drawn on the CPU, so that equal seeds give equal noise on every device.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch


def mixed_noise(
    shape: Sequence[int], generators: Sequence[torch.Generator], shared_weight: float = 1.0
) -> torch.Tensor:
    """Draw training noise: a part shared by all frames of a window plus a part per frame (arXiv 2305.10474).

    With a = `shared_weight` the variances of the parts are a^2 / (1 + a^2) and 1 / (1 + a^2): every element has
    variance 1, and two frames of a window correlate by a^2 / (1 + a^2). With infinity all frames share their noise.

    Args:
        shape: (b, c, f, h, w).
        generators: b CPU generators, one per window, so that noise does not depend on the other windows of a batch.
        shared_weight: weight of the shared part, from 0 to infinity.

    Returns:
        float32 of that shape, on the CPU.
    """
    batch, channels, frames, height, width = shape
    if len(generators) != batch:
        raise ValueError(f"mixed_noise requires one generator per window: {batch}, not {len(generators)}")
    scale = (1 + shared_weight**2) ** 0.5
    windows = []
    for generator in generators:
        shared = torch.randn(channels, 1, height, width, generator=generator)
        own = torch.randn(channels, frames, height, width, generator=generator)
        is_all_shared = math.isinf(shared_weight)
        windows.append(shared.expand_as(own) if is_all_shared else (shared_weight * shared + own) / scale)
    return torch.stack(windows)


def window_noise(seed: int, window_index: int, shape: Sequence[int]) -> torch.Tensor:
    """Draw inference noise: one draw shared by all frames of a window.

    Frames that start from the same noise differ only in their conditioning, which is temporally more stable than
    independent noise. Overlapping windows of one video use the same index, so that they agree in the overlap. The noise
    depends only on seed, index and latent size, neither on the batch size nor on the number of frames.

    Args:
        seed: any integer.
        window_index: from 0; draws of different indices are independent.
        shape: (b, c, f, h, w) of the latents.

    Returns:
        float32 of that shape, on the CPU; the b windows are equal.
    """
    batch, channels, frames, height, width = shape
    entropy = np.random.SeedSequence([seed % 2**64, window_index]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(entropy >> np.uint64(1)))
    return torch.randn(1, channels, 1, height, width, generator=generator).repeat(batch, 1, frames, 1, 1)


def predict_x0(
    noisy: torch.Tensor, predicted_noise: torch.Tensor, timestep: torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """Return the x0 prediction: clean latents in one step from the predicted noise (arXiv 2006.11239, eq. 15).

    x0 = (noisy - sqrt(1 - a) noise) / sqrt(a) with a = alphas_cumprod[timestep].

    Args:
        noisy: (b, ...) latents at their timestep.
        predicted_noise: same shape; gradients flow through it.
        timestep: (b,) int64.
        alphas_cumprod: (timesteps,) of the noise schedule.

    Returns:
        float32 of the shape of `noisy`.
    """
    alpha = alphas_cumprod.to(noisy.device, torch.float32)[timestep].reshape(-1, *[1] * (noisy.ndim - 1))
    return (noisy.float() - (1 - alpha).sqrt() * predicted_noise.float()) / alpha.sqrt()


def signal_to_noise_ratio(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Return the ratio of signal and noise variance at every timestep, a / (1 - a), as (timesteps,)."""
    return alphas_cumprod / (1 - alphas_cumprod)
