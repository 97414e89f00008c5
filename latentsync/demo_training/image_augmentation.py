"""Colour, blur and noise changes of image batches (n, 3, h, w) in [0, 1]."""

import torch
from torch.nn import functional as F

_LUMA = torch.tensor([0.299, 0.587, 0.114])


def jitter_colour(images: torch.Tensor, generator: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Random hue rotation, saturation, per-channel gain, offset and gamma for each image."""
    n = images.shape[0]

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(n, *shape, generator=generator) * (high - low) + low

    angle = uniform(-0.5, 0.5, 1, 1) * strength * (torch.rand(n, 1, 1, generator=generator) < 0.6)
    saturation = uniform(1 - 0.7 * strength, 1 + 0.8 * strength, 1, 1)
    gain = torch.diag_embed(uniform(1 - 0.3 * strength, 1 + 0.25 * strength, 3))
    grey = torch.ones(3, 1) * _LUMA
    matrix = gain @ (grey + saturation * (_hue_rotation(angle) - grey))
    offset = uniform(-0.12, 0.12, 1, 1, 1) * strength
    mixed = torch.einsum("nij,njhw->nihw", matrix, images) + offset
    return mixed.clamp(0, 1) ** uniform(1 - 0.3 * strength, 1 + 0.4 * strength, 1, 1, 1)


def _hue_rotation(angle: torch.Tensor) -> torch.Tensor:
    """Rotations (n, 3, 3) about the grey axis by `angle` (n, 1, 1) radians (Rodrigues)."""
    k = 3**-0.5
    cross = torch.tensor([[0, -k, k], [k, 0, -k], [-k, k, 0]])
    outer = torch.full((3, 3), 1 / 3)
    return angle.cos() * torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * outer


def blur_and_noise(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the images resized down and up by up to 2.5x; noise of up to 0.04 on all."""
    blurred = images.clone()
    for index in range(images.shape[0]):
        if torch.rand((), generator=generator) < 0.5:
            factor = 1 / (1 + 1.5 * float(torch.rand((), generator=generator)))
            small = F.interpolate(images[index : index + 1], scale_factor=factor, mode="bilinear", antialias=True)
            blurred[index] = F.interpolate(small, size=images.shape[-2:], mode="bilinear")[0]
    sigma = 0.04 * torch.rand(images.shape[0], 1, 1, 1, generator=generator)
    return (blurred + sigma * torch.randn(images.shape, generator=generator)).clamp(0, 1)
