"""Numbers off stacks of aligned crops (f, R, R, 3) uint8."""

import numpy as np
import torch

from latentsync.face.mask import FEATHER_SHARE, keep_mask
from latentsync.judges.colour_distance import lab, psnr_db

_MOUTH_ROWS = (0.5625, 0.875)
_MOUTH_COLUMNS = (0.3125, 0.6875)
"""Where aligned crops have the mouth, as shares of the side: 40 x 48 px of 128."""


def mouth_region(crops: np.ndarray) -> np.ndarray:
    """The part (f, h, w, 3) of the crops that has the mouth; a view."""
    size = crops.shape[1]
    rows, columns = (slice(*(round(share * size) for share in shares)) for shares in (_MOUTH_ROWS, _MOUTH_COLUMNS))
    return crops[:, rows, columns]


def mouth_psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """PSNR in dB of the mouth regions of two equally long stacks, over all frames together."""
    return psnr_db(mouth_region(first), mouth_region(second))


def flicker(crops: np.ndarray) -> float:
    """Mean absolute second difference over time of the mouth region, in grey levels (0-255).

    Steady motion gives nothing; what jumps back and forth from frame to frame gives most.
    """
    return float(np.abs(np.diff(mouth_region(crops).astype(np.float32), n=2, axis=0)).mean())


def edge_step(crops: np.ndarray, reach: int = 1) -> float:
    """Mean Lab distance between pixels `reach` apart, one just outside the mask's edge and one inside.

    With reach 1 the pixels are neighbours; with `feather_reach` the inner one lies beyond the blended edge, so that a
    step cannot hide in the blend.
    """
    keep = keep_mask(crops.shape[1]).numpy()
    colours = lab(crops)
    steps = []
    for axis in (1, 2):
        for sign in (1, -1):
            line, mask = (colours, keep) if sign > 0 else (np.flip(colours, axis), np.flip(keep, axis - 1))
            steps.append(_steps_inwards(np.swapaxes(line, 1, axis), np.swapaxes(mask, 0, axis - 1), reach))
    return float(np.concatenate(steps, axis=1).mean())


def feather_reach(resolution: int) -> int:
    """Pixels from the kept side of the mask's edge to where only generated pixels count."""
    return int(np.ceil(FEATHER_SHARE * resolution)) + 1


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's; 0 where one of the two never moves."""
    if min(first.std(), second.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def to_images(crops: np.ndarray) -> torch.Tensor:
    """Crops (n, h, w, 3) uint8 to (n, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_crops(images: torch.Tensor) -> np.ndarray:
    """Images (n, 3, h, w) about [-1, 1] to (n, h, w, 3) uint8."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _steps_inwards(colours: np.ndarray, keep: np.ndarray, reach: int) -> np.ndarray:
    """Lab distances (f, n) down the rows wherever a kept pixel lies above a run of `reach` generated ones."""
    enters = keep[: len(keep) - reach] == 1
    for distance in range(1, reach + 1):
        enters = enters & (keep[distance : len(keep) - reach + distance] == 0)
    return np.linalg.norm(colours[:, reach:][:, enters] - colours[:, :-reach][:, enters], axis=-1)
