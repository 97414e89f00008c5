"""Measures on stacks of aligned crops (f, R, R, 3) uint8 RGB: PSNR, Lab colour, flicker, and the edge of the mask."""

import numpy as np
import torch

from latentsync.face.mask import FEATHER_SHARE, keep_mask

_MOUTH_ROWS = (0.5625, 0.875)
_MOUTH_COLUMNS = (0.3125, 0.6875)
"""Mouth region of an aligned crop, as shares of its side: 40 x 48 of 128 pixels."""

_LUMA = np.array([0.299, 0.587, 0.114])
_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_D65_WHITE = np.array([0.95047, 1.0, 1.08883])


def mouth_region(crops: np.ndarray) -> np.ndarray:
    """Return the mouth region (f, h, w, 3) of crops, as a view."""
    size = crops.shape[1]
    rows, columns = (slice(*(round(share * size) for share in shares)) for shares in (_MOUTH_ROWS, _MOUTH_COLUMNS))
    return crops[:, rows, columns]


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB of two equally sized uint8 images or stacks.

    The mean squared error is clamped to 1e-10, so equal images give 148 dB instead of infinity.
    """
    error = np.square(first.astype(np.float64) - second.astype(np.float64)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def mouth_psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Return the PSNR in dB of the mouth regions of two stacks (f, R, R, 3), over all frames together."""
    return psnr_db(mouth_region(first), mouth_region(second))


def mouth_differences(crops: np.ndarray, order: int) -> np.ndarray:
    """Return the absolute temporal difference of the mouth region, (f - order, h, w, 3) float32 in grey levels.

    Args:
        crops: (f, R, R, 3) uint8.
        order: 1 for the change between successive frames, 2 for the second difference.
    """
    return np.abs(np.diff(mouth_region(crops).astype(np.float32), n=order, axis=0))


def flicker(crops: np.ndarray) -> float:
    """Return the mean absolute second difference over time of the mouth region, in grey levels (0 to 255).

    Steady motion gives 0; motion that reverses from frame to frame gives the largest values.
    """
    return float(mouth_differences(crops, order=2).mean())


def sharpness(crops: np.ndarray) -> float:
    """Return the mean length of the luma gradient in the mouth region of crops (f, R, R, 3), in grey levels a pixel."""
    luma = mouth_region(crops) @ _LUMA
    down, across = np.gradient(luma, axis=(1, 2))
    return float(np.hypot(down, across).mean())


def lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB (..., 3) uint8 to CIE L, a, b (..., 3) float64 under D65 (IEC 61966-2-1, CIE 15)."""
    value = rgb.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _D65_WHITE
    delta = 6 / 29
    f = np.where(xyz > delta**3, np.cbrt(xyz), xyz / (3 * delta**2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def chroma_error(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean distance in the a-b plane of two equally sized uint8 RGB images or stacks."""
    difference = lab(first)[..., 1:] - lab(second)[..., 1:]
    return float(np.sqrt(np.square(difference).sum(-1)).mean())


def edge_step(crops: np.ndarray, reach: int = 1) -> float:
    """Return the mean Lab distance between pixels `reach` apart across the edge of the mask.

    One pixel is kept and lies at the edge; the other is generated. With reach 1 the two are neighbours. With
    `feather_reach` the generated pixel lies beyond the blended border, so blending cannot hide a step.
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
    """Return the distance in pixels from the kept side of the mask's edge to the first fully generated pixel."""
    return int(np.ceil(FEATHER_SHARE * resolution)) + 1


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two series (n,), or 0 if one of them is constant."""
    if min(first.std(), second.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def leak(opening: np.ndarray, speech: np.ndarray, footage: np.ndarray) -> float:
    """Return how much of a generated mouth's motion comes from the footage instead of the driving speech.

    This is the weight of the footage in the least-squares sum of both that predicts the generated opening, all
    three at unit deviation. A mere correlation with the footage also counts what the two sentences have in common.

    Args:
        opening: (n,) opening of the generated mouth.
        speech: (n,) opening that the driving speech predicts.
        footage: (n,) opening in the footage.
    """
    shared = correlation(speech, footage)
    follows, repeats = correlation(opening, speech), correlation(opening, footage)
    return (repeats - follows * shared) / max(1 - shared**2, 1e-6)


def to_images(crops: np.ndarray) -> torch.Tensor:
    """Convert crops (n, h, w, 3) uint8 to (n, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_crops(images: torch.Tensor) -> np.ndarray:
    """Convert images (n, 3, h, w), clamped to [-1, 1], to (n, h, w, 3) uint8."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _steps_inwards(colours: np.ndarray, keep: np.ndarray, reach: int) -> np.ndarray:
    """Return Lab distances (f, n) along the rows where a kept pixel is followed by `reach` generated ones."""
    enters = keep[: len(keep) - reach] == 1
    for distance in range(1, reach + 1):
        enters = enters & (keep[distance : len(keep) - reach + distance] == 0)
    return np.linalg.norm(colours[:, reach:][:, enters] - colours[:, :-reach][:, enters], axis=-1)
