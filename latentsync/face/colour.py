"""Takes the colour cast of a small autoencoder out of a generated face, without touching its detail.

Around the mask lies a ring of kept pixels that are known twice, in the source and in the decoded crop. Their difference
is the cast there; a smooth field through those differences, added to the crop, removes the step at the mask's border.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F

from latentsync.face.mask import distance_inside

RING_SHARE = 0.06
"""Width of the ring outside the mask as a share of the resolution."""

_NUM_CELLS = 32
"""The field is worked out on this many cells along each side."""

_SOFTNESS = 2.0
"""Distance in cells within which ring cells count alike."""

_LARGEST_SHIFT = 0.5
"""Largest correction of a channel, in units of [-1, 1] pixels."""


@torch.inference_mode()
def match_colour(generated: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Adds a smooth colour field to generated crops, so that they agree with the source around the mask.

    Args:
        generated: (n, 3, R, R) decoded crops in [-1, 1]; their kept region must show the source as decoded.
        source: (n, 3, R, R) the crops as cut from the frames, in [-1, 1].

    Returns:
        (n, 3, R, R) in [-1, 1], the dtype and device of `generated`.
    """
    resolution = generated.shape[-1]
    ring, spread = (part.to(generated.device) for part in _ring_and_spread(resolution))
    difference = (source.to(generated.device).float() - generated.float()) * ring
    cells = F.adaptive_avg_pool2d(difference, _NUM_CELLS).flatten(2)
    field = (cells @ spread.T).clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT).unflatten(2, (_NUM_CELLS, _NUM_CELLS))
    field = F.interpolate(field, (resolution, resolution), mode="bilinear", align_corners=False)
    return (generated + field.to(generated.dtype)).clamp(-1, 1)


@lru_cache(maxsize=4)
def _ring_and_spread(resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ring (R, R) of zeros and ones, and (cells, cells) weights from the ring's cell means to the field.

    The weights fall with the cube of the distance; they divide by the ring's share of each cell on the way.
    """
    distance = torch.from_numpy(distance_inside(resolution)).float()
    ring = ((distance < 0) & (distance >= -RING_SHARE * resolution)).float()
    share = F.adaptive_avg_pool2d(ring[None, None], _NUM_CELLS).flatten()
    axis = torch.arange(_NUM_CELLS, dtype=torch.float32)
    places = torch.cartesian_prod(axis, axis)
    closeness = (torch.cdist(places, places).square() + _SOFTNESS**2).pow(-1.5)
    # a cell's pooled difference is its mean times its share, so this weighs each ring pixel once
    return ring, closeness / (closeness @ share)[:, None]
