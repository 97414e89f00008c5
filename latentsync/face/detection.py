"""The result and the interface of face detectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Detection:
    """One face in one frame.

    Attributes:
        box: (4,) float32 x0, y0, x1, y1 in frame pixels.
        score: confidence of the detector, 0 to 1.
        anchors: (3, 2) float32 left brow, right brow, nose (left and right in the image), x, y in frame pixels.
    """

    box: np.ndarray
    score: float
    anchors: np.ndarray


class FaceDetector(Protocol):
    """Interface of a face detector. It may reduce the frames; coordinates refer to the given frames."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        """Return the faces of every frame, highest score first.

        Args:
            frames: uint8 RGB (h, w, 3), all of one size.
        """
        ...


@runtime_checkable
class FollowingDetector(FaceDetector, Protocol):
    """Interface of a detector that also finds known faces again near given boxes, in a fraction of the time.

    Attributes:
        longest_side: size in pixels to which it reduces frames; larger frames give no better detections.
    """

    longest_side: int

    def follow(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Detection | None]]:
        """Return the face near each box of every frame, in the order of the boxes; None if it is not found there.

        Args:
            frames: uint8 RGB (h, w, 3), all of one size.
            boxes: one (k, 4) array per frame, x0, y0, x1, y1 in frame pixels; k may differ between frames.
        """
        ...

    def measure(self, frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[list[Detection | None]]:
        """Return the face in each box of every frame as `follow` does, for boxes known within a few pixels."""
        ...
