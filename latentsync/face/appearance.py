"""Descriptors of how a person looks: short vectors whose distance is small for the same person."""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from latentsync.face.detection import Detection

_REGIONS = {
    "hair": (0.0, -0.45, 1.0, 0.08),
    "face": (0.12, 0.15, 0.88, 0.95),
    "shoulders": (-0.35, 1.25, 1.35, 1.95),
}
"""x0, y0, x1, y1 from the upper left corner of a face's box, as shares of its width and height."""

_NUM_BINS = 8
_RANGES = ((0.0, 100.0), (-40.0, 40.0), (-40.0, 40.0))
"""Levels of the outer bins' centres: lightness relative to the person's mean (then 50), and the two axes of colour."""

_SAMPLED = 16
"""Side in pixels to which a region is reduced."""

_DARKEST = 8.0
"""Mean lightness (0-100) below which lightness is no longer scaled up."""


class AppearanceDescriber(Protocol):
    """Interface of a descriptor of people.

    Attributes:
        name: for reports.
        interval: frames from one description of a face to the next.
        same: distance up to which two descriptions may be of one person in different scenes.
        margin: distance by which another person must be farther for a match to be unambiguous.
    """

    name: str
    interval: int
    same: float
    margin: float

    def describe(self, frame: np.ndarray, faces: Sequence[Detection]) -> list[np.ndarray | None]:
        """Return the descriptor (d,) float32 of each face, None for one that another face or the border conceals.

        Distances are Euclidean.

        Args:
            frame: uint8 RGB (h, w, 3).
            faces: all faces of the frame, in its pixels.
        """
        ...


class ColourHistograms:
    """`AppearanceDescriber` by histograms of Lab colour of hair, face and shoulders.

    Lightness is relative to the mean of the three regions, so that a brighter or darker shot changes little. The
    descriptor holds square roots of shares: the Euclidean distance of two is the Hellinger distance, 0 to 1.
    """

    name = "colour histograms"
    interval = 12
    same = 0.38  # of 15 synthetic scenes: 0.19 to 0.32 across cuts but for one 0.46, between people 0.45 and more
    margin = 0.08

    def describe(self, frame: np.ndarray, faces: Sequence[Detection]) -> list[np.ndarray | None]:
        """See `AppearanceDescriber`; the descriptor has 72 numbers."""
        clear = clear_faces(faces)
        return [_histograms(frame, face.box) if is_clear else None for face, is_clear in zip(faces, clear, strict=True)]


def clear_faces(faces: Sequence[Detection]) -> list[bool]:
    """Return for each face whether no other face reaches into its hair and face."""
    boxes = [face.box for face in faces]
    heads = [_region(box, (-0.1, -0.45, 1.1, 1.1)) for box in boxes]
    return [not any(_intersect(head, box) for j, box in enumerate(boxes) if j != i) for i, head in enumerate(heads)]


def _histograms(frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Return the descriptor of the person with this face box, or None if a region lies outside the frame."""
    patches = []
    for region in _REGIONS.values():
        patch = _patch(frame, _region(box, region))
        if patch is None:
            return None
        patches.append(patch)
    lab = cv2.cvtColor(np.stack(patches).reshape(len(patches) * _SAMPLED, _SAMPLED, 3), cv2.COLOR_RGB2Lab)
    lab[..., 0] *= 50.0 / max(float(lab[..., 0].mean()), _DARKEST)
    values = lab.reshape(len(patches), -1, 3)
    shares = [_soft_histogram(part[:, axis], *_RANGES[axis]) for part in values for axis in range(3)]
    # each histogram sums to 1; the Hellinger distance over all of them together is at most 1
    return np.sqrt(np.concatenate(shares) / (2 * len(shares))).astype(np.float32)


def _patch(frame: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """Return a region of the frame as (16, 16, 3) float32 in [0, 1], or None if less than 2 pixels are inside."""
    height, width = frame.shape[:2]
    x0, y0 = np.maximum(np.floor(region[:2]), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(region[2:]), (width, height)).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    reduced = cv2.resize(frame[y0:y1, x0:x1], (_SAMPLED, _SAMPLED), interpolation=cv2.INTER_AREA)
    return reduced.astype(np.float32) / 255


def _soft_histogram(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the shares (8,) of values (n,), each divided between the two nearest bins."""
    place = np.clip((values - low) / (high - low), 0, 1) * (_NUM_BINS - 1)
    lower = np.minimum(place.astype(int), _NUM_BINS - 2)
    upper_share = place - lower
    counts = np.bincount(lower, 1 - upper_share, _NUM_BINS) + np.bincount(lower + 1, upper_share, _NUM_BINS)
    return counts / len(values)


def _region(box: np.ndarray, shares: tuple[float, float, float, float]) -> np.ndarray:
    """Return the region x0, y0, x1, y1 at these shares of a box."""
    size = np.tile(box[2:] - box[:2], 2)
    return np.tile(box[:2], 2) + np.array(shares) * size


def _intersect(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((np.minimum(first[2:], second[2:]) > np.maximum(first[:2], second[:2])).all())
