"""What a face detector gives, and which of the two back ends is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from latentsync.errors import InputError
from latentsync.weights import AUXILIARY

DETECTORS = ("auto", "mtcnn", "face_alignment")


@dataclass(frozen=True)
class Detection:
    """One face in one frame.

    Attributes:
        box: (4,) float32 x0, y0, x1, y1 in frame pixels.
        score: how sure the detector is, 0 to 1.
        anchors: (3, 2) float32 left brow, right brow, nose (left and right as seen in the picture), x, y in pixels.
    """

    box: np.ndarray
    score: float
    anchors: np.ndarray


class FaceDetector(Protocol):
    """Finds faces; frames may be reduced inside, coordinates are those of the frames given."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        """The faces of every frame, best first.

        Args:
            frames: uint8 RGB (h, w, 3), all of one size.
        """
        ...


def build_detector(
    name: str = "auto", device: torch.device | str = "cpu", auxiliary_dir: Path | str = AUXILIARY
) -> FaceDetector:
    """The face detector of that name.

    Args:
        name: ``face_alignment`` (68 points; needs weights), ``mtcnn`` (5 points; weights come with its package), or
            ``auto``: face_alignment where its weights are present, else mtcnn.
        device: where its networks run.
        auxiliary_dir: where face_alignment's weights are looked for, besides torch's own cache.

    Raises:
        InputError: the name is unknown.
        CheckpointError: face_alignment was asked for and its weights are missing or unreadable.
    """
    from latentsync.face.landmarks68 import Landmarks68Detector
    from latentsync.face.mtcnn import MtcnnDetector

    if resolve_detector(name, auxiliary_dir) == "mtcnn":
        return MtcnnDetector(device)
    return Landmarks68Detector(device, auxiliary_dir)


def resolve_detector(name: str = "auto", auxiliary_dir: Path | str = AUXILIARY) -> str:
    """``face_alignment`` or ``mtcnn``: what `build_detector` builds for that name.

    Raises:
        InputError: the name is unknown.
    """
    from latentsync.face.landmarks68 import missing_weights

    if name not in DETECTORS:
        raise InputError(f"unknown face detector {name!r}: use {', '.join(DETECTORS)}")
    if name == "auto":
        return "mtcnn" if missing_weights(auxiliary_dir) else "face_alignment"
    return name
