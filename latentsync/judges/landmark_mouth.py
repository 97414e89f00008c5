"""Mouth opening and width of real people from the 68 landmarks of face-alignment."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.face.align import tall_size
from latentsync.face.landmarks68 import LandmarkNetworks

_RIGHT_EYE, _LEFT_EYE = slice(36, 42), slice(42, 48)
_CORNERS = (48, 54)
_INNER_UPPER, _INNER_LOWER = (61, 62, 63), (67, 66, 65)

WIDE_OPEN = 0.305
"""Gap between the inner lips of an opening of 1, mean of three columns, over the distance of the eye centres."""

NEUTRAL_WIDTH = 0.8
"""Distance of the mouth corners of a width of 0.5, over the distance of the eye centres."""

WIDTH_RANGE = 0.42
"""Relative change of that distance from a width of 0 to a width of 1."""

OPENING_NARROWS = 0.08
"""Relative loss of that distance from a closed mouth to an opening of 1."""


def mouths_from_68(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return mouth opening and width (f, 2) from landmarks (f, 68, 2) of unsqueezed faces.

    Opening is the mean gap between the inner lips, width the distance of the mouth corners, both over the distance of
    the eye centres. They are scaled like the values of `latentsync.judges.mouth_reader`, by the shape of the demo's
    synthetic people (0 closed, 1 wide open; 0.5 neutral), and cut to [0, 1].
    """
    points = np.asarray(points, dtype=np.float64)
    centres = points[:, _LEFT_EYE].mean(axis=1) - points[:, _RIGHT_EYE].mean(axis=1)
    eyes = np.maximum(np.linalg.norm(centres, axis=1), 1e-6)
    gaps = np.linalg.norm(points[:, _INNER_LOWER] - points[:, _INNER_UPPER], axis=2).mean(axis=1)
    corners = np.linalg.norm(points[:, _CORNERS[1]] - points[:, _CORNERS[0]], axis=1)
    opening = np.clip(gaps / eyes / WIDE_OPEN, 0.0, 1.0)
    spread = (corners / eyes / NEUTRAL_WIDTH - 1 + OPENING_NARROWS * opening) / WIDTH_RANGE
    return np.stack([opening, np.clip(0.5 + spread, 0.0, 1.0)], axis=1).astype(np.float32)


class LandmarkMouthReader:
    """Reads mouths in aligned crops by the landmarks of face-alignment.

    The crops have a fixed template, so that no face is searched in them: the box is the whole crop. Landmarks are found
    in the unsqueezed crop, since the square one is wider than the face (`latentsync.face.align`).

    Args:
        networks: face-alignment's networks.
    """

    def __init__(self, networks: LandmarkNetworks) -> None:
        self._networks = networks

    @torch.inference_mode()
    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return mouth opening and width (f, 2) of aligned crops (f, R, R, 3).

        Raises:
            InputError: a landmark is not finite.
        """
        width, height = tall_size(crops.shape[1])
        box = np.array([[0.0, 0.0, width, height, 1.0]])
        points = np.stack([self._networks.landmarks(_tall(crop, width, height), box)[0] for crop in crops])
        if not np.isfinite(points).all():
            raise InputError("the landmark network finds no face in the footage: name --face, or other footage")
        return mouths_from_68(points)


def _tall(crop: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return a square crop (R, R, 3) in the proportions of the face, (height, width, 3)."""
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True, align_corners=False)
    return pixels[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
