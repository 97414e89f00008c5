"""Gaussian noise for windows of latents. Drawn on the CPU, so that every device starts from the same numbers."""

import math
from collections.abc import Sequence

import numpy as np
import torch


def mixed_noise(
    shape: Sequence[int], generators: Sequence[torch.Generator], shared_weight: float = 1.0
) -> torch.Tensor:
    """Training noise: one part common to all frames of a window, one of each frame's own (arXiv 2305.10474).

    With a = `shared_weight` the variances are a^2 / (1 + a^2) and 1 / (1 + a^2): every element has variance 1, and two
    frames of a window correlate by a^2 / (1 + a^2). At infinity all frames have the same noise.

    Args:
        shape: (b, c, f, h, w).
        generators: b CPU generators, one a window: a window's noise does not depend on its neighbours in the batch.
        shared_weight: a above.

    Returns:
        float32 of that shape, on the CPU.
    """
    batch, channels, frames, height, width = shape
    if len(generators) != batch:
        raise ValueError(f"mixed_noise needs one generator a window: {batch}, not {len(generators)}")
    total = (1 + shared_weight**2) ** 0.5
    windows = []
    for generator in generators:
        common = torch.randn(channels, 1, height, width, generator=generator)
        own = torch.randn(channels, frames, height, width, generator=generator)
        is_common = math.isinf(shared_weight)
        windows.append(common.expand_as(own) if is_common else (shared_weight * common + own) / total)
    return torch.stack(windows)


def window_noise(seed: int, window_index: int, shape: Sequence[int]) -> torch.Tensor:
    """Inference noise: one draw for all frames of a window.

    Frames that start from the same noise differ only by what they are told, which is steadier than noise of their own.
    Windows of one video that shall agree where they overlap are given the same index. The noise depends on seed, index
    and the size of the latents alone: neither the batch size nor the length of the window changes it.

    Args:
        seed: any integer.
        window_index: from 0; another index is another, independent draw.
        shape: (b, c, f, h, w) of the latents.

    Returns:
        float32 of that shape, on the CPU; the b windows are equal.
    """
    batch, channels, frames, height, width = shape
    entropy = np.random.SeedSequence([seed % 2**64, window_index]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(entropy >> np.uint64(1)))
    return torch.randn(1, channels, 1, height, width, generator=generator).repeat(batch, 1, frames, 1, 1)
