"""The fixed mask of the lower face: 1 where a crop's pixels are kept, 0 where they are generated."""

from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

_POLYGON_SIZE = 256
_POLYGON = (
    (9, 95), (77, 95), (77, 127), (178, 127), (178, 95), (247, 95), (247, 128), (246, 140), (245, 152), (244, 164),
    (243, 170), (240, 176), (236, 182), (232, 188), (228, 194), (223, 200), (218, 206), (212, 212), (204, 218),
    (196, 224), (185, 230), (171, 236), (160, 240), (152, 242), (131, 242), (104, 240), (90, 236), (76, 230),
    (64, 224), (54, 218), (45, 212), (38, 206), (33, 200), (27, 194), (22, 188), (19, 182), (15, 176), (12, 170),
    (12, 164), (11, 152), (10, 140), (9, 128),
)  # fmt: skip
"""Corners (x, y) of the generated region at 256 px: cheeks, mouth and chin, with a recess around the nose."""

FEATHER_SHARE = 0.035
"""Width of the blended edge as a share of the resolution; the edge lies inside the generated region."""

Images = TypeVar("Images", NDArray[Any], torch.Tensor)


def lower_half(images: Images, channels_last: bool = False) -> Images:
    """Return the lower half (..., h / 2, w) of images (..., h, w), or of images (..., h, w, c) with `channels_last`."""
    if channels_last:
        return images[..., images.shape[-3] // 2 :, :, :]
    return images[..., images.shape[-2] // 2 :, :]


@lru_cache(maxsize=8)
def keep_mask(resolution: int) -> torch.Tensor:
    """Return (resolution, resolution) float32: 1 where the crop's pixels are kept, 0 where they are generated.

    A pixel is generated if its integer coordinates lie in or on the polygon scaled to the resolution. The result is
    cached and must not be modified.
    """
    return torch.from_numpy((~_inside_polygon(resolution)).astype(np.float32))


def latent_mask(resolution: int, latent_size: int) -> torch.Tensor:
    """Return `keep_mask` at the size of the latents, (latent_size, latent_size) float32, by nearest neighbour."""
    return F.interpolate(keep_mask(resolution)[None, None], (latent_size, latent_size), mode="nearest")[0, 0]


@lru_cache(maxsize=8)
def blend_mask(resolution: int) -> torch.Tensor:
    """Return (resolution, resolution) float32 weights of the generated pixels for pasting: 0 where pixels are kept.

    The weight rises smoothly from 0 on the border of the generated region to 1 at `FEATHER_SHARE` inside it. The
    result is cached and must not be modified.
    """
    share = distance_inside(resolution) / (FEATHER_SHARE * resolution)
    smooth = np.clip(share, 0, 1)
    return torch.from_numpy((smooth * smooth * (3 - 2 * smooth)).astype(np.float32))


@lru_cache(maxsize=8)
def distance_inside(resolution: int) -> np.ndarray:
    """Return (resolution, resolution) distances in pixels from the polygon's border; negative in the kept region.

    The result is cached and must not be modified.
    """
    corners, pixels = _scaled_polygon(resolution), _pixel_coordinates(resolution)
    nearest = np.full(len(pixels), np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge = end - start
        along = np.clip((pixels - start) @ edge / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(pixels - start - along[:, None] * edge, axis=1))
    inside = _inside_polygon(resolution).ravel()
    return np.where(inside, nearest, -nearest).reshape(resolution, resolution)


def _scaled_polygon(resolution: int) -> np.ndarray:
    return np.array(_POLYGON, dtype=np.float64) * (resolution / _POLYGON_SIZE)


def _pixel_coordinates(resolution: int) -> np.ndarray:
    """Return (resolution squared, 2) integer (x, y) of every pixel, row by row."""
    rows, columns = np.mgrid[:resolution, :resolution]
    return np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)


def _inside_polygon(resolution: int) -> np.ndarray:
    """Return (resolution, resolution) bool, True in or on the polygon, by counting edges crossed to the right."""
    corners, pixels = _scaled_polygon(resolution), _pixel_coordinates(resolution)
    x, y = pixels[:, 0], pixels[:, 1]
    inside, on_border = np.zeros(len(pixels), dtype=bool), np.zeros(len(pixels), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        inside ^= ((y0 <= y) != (y1 <= y)) & ((side > 0) == (y1 > y0))
        within = (np.minimum(x0, x1) <= x) & (x <= np.maximum(x0, x1)) & (np.minimum(y0, y1) <= y)
        on_border |= (np.abs(side) < 1e-6) & within & (y <= np.maximum(y0, y1))
    return (inside | on_border).reshape(resolution, resolution)
