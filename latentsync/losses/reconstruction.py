"""Reconstruction losses of autoencoders for aligned crops, with most weight on the mouth."""

import torch
from torch.nn import functional as F

_TEXTURE_CELL = 8
"""Side in pixels of the cells whose mean gradients `texture_loss` compares."""


def mouth_pixel_weight(resolution: int) -> torch.Tensor:
    """Return pixel weights (1, R, R): 1, rising smoothly to 2.5 where aligned crops have the mouth."""
    y, x = torch.meshgrid(torch.linspace(0, 1, resolution), torch.linspace(0, 1, resolution), indexing="ij")
    return (1 + 1.5 * torch.exp(-(((x - 0.5) / 0.2) ** 2 + ((y - 0.68) / 0.16) ** 2)))[None]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the sum of weighted L1 and L2, gradient, chroma and coarse errors (at 1/4 and 1/16 of the size).

    Args:
        output, target: images (n, 3, h, w) in [-1, 1].
        weight: pixel weights (n, 1, h, w).
    """
    error = output - target
    pixel = (weight * (error.abs() + 4 * error.square())).mean()
    gradient = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    fine = F.avg_pool2d(error, 2)
    chroma = (fine - fine.mean(1, keepdim=True)).abs().mean()
    quarter = F.avg_pool2d(fine, 2)
    coarse = quarter.abs().mean() + F.avg_pool2d(quarter, 4).abs().mean()
    return pixel + 0.5 * gradient + 1.5 * chroma + 0.75 * coarse


def texture_loss(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the difference of the amounts of detail: mean absolute gradients in cells of 8 x 8 pixels.

    A blurred image minimizes an error of pixels where the exact position of fine texture is unknown; here it does not.

    Args:
        output, target: images (n, 3, h, w) in [-1, 1].
        weight: pixel weights (n, 1, h, w).
    """
    difference = _detail(output) - _detail(target)
    return (F.avg_pool2d(weight, _TEXTURE_CELL) * difference.abs()).mean()


def _detail(images: torch.Tensor) -> torch.Tensor:
    """Return mean absolute gradients (n, 2, h / 8, w / 8) of the luma of images."""
    luma = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    across = F.pad(luma.diff(dim=-1), (0, 1)).abs()
    down = F.pad(luma.diff(dim=-2), (0, 0, 0, 1)).abs()
    return F.avg_pool2d(torch.cat([across, down], dim=1), _TEXTURE_CELL)
