"""Step 5: accept clips with a single face that is large enough, and store its position in every frame."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from latentsync.errors import CheckpointError
from latentsync.face.detection import Detection, FaceDetector
from latentsync.face.detector import build_detector, resolve_detector
from latentsync.face.landmarks68 import find_box_weights, find_landmark_weights, missing_weights
from latentsync.media.reader import VideoReader
from latentsync.weights import CHECKPOINTS
from preprocess.step import Clip, Done, Output, ProcessClip, Rejected, StepResult
from preprocess.steps.single_face import REASONS, SingleFaceRule, find_single_face, write_single_face

_AUXILIARY = CHECKPOINTS / "auxiliary"
_BATCH_FRAMES = 8


@dataclass(frozen=True)
class FacesConfig(SingleFaceRule):
    """Settings of step 5.

    Attributes:
        detector: ``face_alignment``, ``mtcnn`` or ``auto``, as in `latentsync.face.detector.build_detector`.
    """

    detector: str = "auto"


@dataclass(frozen=True)
class FacesStep:
    """Detects the faces of every frame once and stores the single face for the later steps.

    Facts: `segment`, the clip's path (step 7 crops faces from it); `face_width` and `face_height`, the median size of
    the face's box in pixels; `face_detector`, ``face_alignment`` or ``mtcnn``. Sidecar `faces`: a
    `preprocess.steps.single_face.SingleFace`. The clip's file is unchanged.
    """

    number: ClassVar[int] = 5
    name: ClassVar[str] = "faces"
    folder: ClassVar[str | None] = "high_resolution"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = REASONS
    uses_device: ClassVar[bool] = True

    config: FacesConfig = field(default_factory=FacesConfig)

    def weights(self) -> list[Path]:
        """Return the two files of face-alignment, or none for MTCNN, whose weights are part of its package.

        Raises:
            CheckpointError: a file of face-alignment is missing.
        """
        if resolve_detector(self.config.detector, _AUXILIARY) == "mtcnn":
            return []
        files = [find_box_weights(_AUXILIARY), find_landmark_weights(_AUXILIARY)]
        if None in files:
            missing = " and ".join(missing_weights(_AUXILIARY))
            raise CheckpointError(
                f"step 5 lacks {missing}: run python -m scripts.download_weights --training, or set faces.detector=auto"
            )
        return [file for file in files if file is not None]

    def load(self, device: torch.device) -> ProcessClip:
        """Load the detector and return the function of one clip."""
        name = resolve_detector(self.config.detector, _AUXILIARY)
        return partial(filter_faces, self.config, build_detector(name, device, _AUXILIARY), name)


def filter_faces(
    rule: SingleFaceRule, detector: FaceDetector, detector_name: str, clip: Clip, work: Path
) -> StepResult:
    """Return the result for one clip; memory holds a few frames of it."""
    with VideoReader(clip.path) as frames:
        face = find_single_face(_detect(frames, detector), rule)
    if isinstance(face, Rejected):
        return face
    sidecar = work / "faces.npz"
    write_single_face(sidecar, face)
    width, height = face.median_size
    facts = {
        "segment": str(clip.path),
        "face_width": width,
        "face_height": height,
        "face_detector": detector_name,
    }
    return Done((Output(facts=facts, sidecars={"faces": sidecar}),))


def _detect(frames: Iterable[np.ndarray], detector: FaceDetector) -> list[list[Detection]]:
    iterator, detections = iter(frames), []
    while batch := list(islice(iterator, _BATCH_FRAMES)):
        detections += detector.detect(batch)
    return detections
