"""Choose and build a face detector by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import InputError
from latentsync.weights import AUXILIARY

if TYPE_CHECKING:
    import torch

    from latentsync.face.detection import FaceDetector

DETECTORS = ("auto", "mtcnn", "face_alignment")


def build_detector(
    name: str = "auto", device: torch.device | str = "cpu", auxiliary_dir: Path | str = AUXILIARY
) -> FaceDetector:
    """Build a face detector.

    Args:
        name: ``face_alignment`` (68 points; requires weights), ``mtcnn`` (5 points; its package includes the weights),
            or ``auto``: face_alignment if its weights are present, else mtcnn.
        device: device of the networks.
        auxiliary_dir: folder with face_alignment's weights, searched before torch's own cache.

    Raises:
        InputError: the name is unknown.
        CheckpointError: the weights of face_alignment are missing or unreadable.
    """
    from latentsync.face.landmarks68 import Landmarks68Detector  # imports torch, which commands' --help does without
    from latentsync.face.mtcnn import MtcnnDetector

    if resolve_detector(name, auxiliary_dir) == "mtcnn":
        return MtcnnDetector(device)
    return Landmarks68Detector(device, auxiliary_dir)


def resolve_detector(name: str = "auto", auxiliary_dir: Path | str = AUXILIARY) -> str:
    """Return ``face_alignment`` or ``mtcnn``, whichever `build_detector` builds for the name.

    Raises:
        InputError: the name is unknown.
    """
    from latentsync.face.landmarks68 import missing_weights

    if name not in DETECTORS:
        raise InputError(f"unknown face detector {name!r}: use {', '.join(DETECTORS)}")
    if name == "auto":
        return "mtcnn" if missing_weights(auxiliary_dir) else "face_alignment"
    return name
