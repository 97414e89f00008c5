"""Masks of things in front of the face: the weight with which they keep the source, and the crops without them."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from latentsync.face.align import compose
from latentsync.face.mask import keep_mask

SOFTNESS_SHARE = 0.012
"""Distance beyond the border of a mask at which its weight is about 0.5, as a share of the side of the face's crop."""

_BORDER_SHARE = 0.02
"""Width of the border around a mask that is filled too, as a share of the resolution: it has the occluder's colours."""

_SMALLEST_LEVEL = 16
"""Level of a mask (0-255), warped to the crop, from which a pixel is filled."""

_COARSEST = 4
"""Side in pixels of the coarsest image of the fill."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, ends excluded."""


def keep_weight(mask: NDArray[np.uint8], box: Box, face_side: float) -> NDArray[np.float32]:
    """Return the weight with which an occluder keeps the source's pixels in a box of the frame.

    The border is softened outwards only: a white pixel has exactly the weight 1.

    Args:
        mask: (h, w) of the whole frame, 255 where something is in front of the face.
        box: part of the frame.
        face_side: side of the face's crop in pixels of the frame.

    Returns:
        (y1 - y0, x1 - x0) in [0, 1].
    """
    x0, y0, x1, y1 = box
    radius = max(1, round(SOFTNESS_SHARE * face_side))
    margin = 3 * radius
    left, top = max(x0 - margin, 0), max(y0 - margin, 0)
    near = mask[top : y1 + margin, left : x1 + margin]
    if not near.any():
        return np.zeros((y1 - y0, x1 - x0), dtype=np.float32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    grown = cv2.dilate(near, disc).astype(np.float32)
    soft = np.maximum(cv2.GaussianBlur(grown, (0, 0), radius / 2), near) / np.float32(255)
    return np.minimum(soft[y0 - top : y1 - top, x0 - left : x1 - left], np.float32(1))


class OcclusionFiller:
    """Replace the occluded pixels of the aligned crops of one interval, so that the U-Net has a free face as reference.

    The pixels are those of the crop with the fewest occluded pixels so far, the latest one of several; what is occluded
    there too is a smooth continuation of the pixels around. Without this the U-Net copies the occluder into the mouth
    (docs/people.md has the effect).
    """

    def __init__(self) -> None:
        self._free: tuple[torch.Tensor, NDArray[np.bool_]] | None = None

    def fill(
        self, crops: torch.Tensor, masks: Sequence[NDArray[np.uint8]], matrices: NDArray[np.floating]
    ) -> torch.Tensor:
        """Return the next crops without the occluder.

        Args:
            crops: (n, 3, R, R) in [-1, 1], the next of the interval.
            masks: n masks (h, w) of whole frames, 255 where something is in front of the face.
            matrices: (n, 2, 3) frame to crop.

        Returns:
            (n, 3, R, R); pixels at a small distance from the masks are those of `crops`.
        """
        holes = [_hole(mask, matrix, crops.shape[-1]) for mask, matrix in zip(masks, matrices, strict=True)]
        return torch.stack([self._fill(crop, hole) for crop, hole in zip(crops, holes, strict=True)])

    def _fill(self, crop: torch.Tensor, hole: NDArray[np.bool_]) -> torch.Tensor:
        if self._free is None or hole.sum() <= self._free[1].sum():
            self._free = crop, hole
        free, free_hole = self._free
        unknown = hole & free_hole
        filled = torch.where(torch.from_numpy(hole).to(crop.device), free, crop)
        if not unknown.any() or unknown.all():
            return filled
        kept = torch.from_numpy(~unknown).to(crop.device)
        return torch.where(kept, filled, _continued(filled[None], kept.to(crop.dtype)[None, None])[0])


def hidden_share(mask: NDArray[np.uint8], matrix: NDArray[np.floating], resolution: int) -> float:
    """Return the share of a crop's generated region that lies behind an occluder.

    Args:
        mask: (h, w) of the whole frame, 255 where something is in front of the face.
        matrix: (2, 3) frame to crop.
        resolution: side of the crop in pixels.
    """
    if not mask.any():
        return 0.0
    generated = 1 - keep_mask(resolution).numpy()
    return float((_in_crop(mask, matrix, resolution) * generated).sum() / (255 * generated.sum()))


def _hole(mask: NDArray[np.uint8], matrix: NDArray[np.floating], resolution: int) -> NDArray[np.bool_]:
    """Return (R, R) True for the occluded pixels of a crop and a border around them."""
    if not mask.any():
        return np.zeros((resolution, resolution), dtype=bool)
    radius = max(1, round(_BORDER_SHARE * resolution))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    is_hole = _in_crop(mask, matrix, resolution) >= _SMALLEST_LEVEL
    return np.asarray(cv2.dilate(is_hole.astype(np.uint8), disc)) > 0


def _in_crop(mask: NDArray[np.uint8], matrix: NDArray[np.floating], resolution: int) -> NDArray[np.uint8]:
    """Return the mask (R, R) of a crop."""
    # A mask that is finer than the crop is sampled at its own density first, or thin things would be missed.
    density = np.sqrt(abs(np.linalg.det(np.asarray(matrix, dtype=np.float64)[:, :2])))
    finer = max(1, round(1 / density))
    to_finer = np.array([[finer, 0, (finer - 1) / 2], [0, finer, (finer - 1) / 2]], dtype=np.float64)
    warped = cv2.warpAffine(mask, compose(to_finer, matrix), (finer * resolution, finer * resolution))
    return np.asarray(cv2.resize(warped, (resolution, resolution), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _continued(crops: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return crops (n, 3, R, R) whose pixels with `kept` (n, 1, R, R) of 0 are means of kept pixels around them.

    An image pyramid of means of kept pixels is built up to the coarsest level; then every level takes what it lacks
    from the coarser one. The means get wider with the distance from kept pixels.
    """
    side = crops.shape[-1] // 2
    if side < _COARSEST:
        mean = (crops * kept).sum(dim=(2, 3), keepdim=True) / kept.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
        return mean.expand_as(crops)
    share = F.adaptive_avg_pool2d(kept, side)
    means = F.adaptive_avg_pool2d(crops * kept, side) / share.clamp(min=1e-6)
    coarser = _continued(means, (share > 0).to(kept.dtype))
    means = torch.where(share > 0, means, coarser)
    return F.interpolate(means, crops.shape[-2:], mode="bilinear", align_corners=False)
