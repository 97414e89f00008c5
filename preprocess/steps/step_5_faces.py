"""Step 5: only clips with exactly one face throughout go on, one that is large enough; its place is written down."""

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
from preprocess.clip import Clip
from preprocess.face_track_file import write_face_track
from preprocess.one_face import REASONS, OneFaceRule, follow_one_face, median_size
from preprocess.step import Process
from preprocess.verdict import Done, Output, Rejected, Verdict

_AUXILIARY = CHECKPOINTS / "auxiliary"
_BATCH_FRAMES = 8


@dataclass(frozen=True)
class FacesConfig(OneFaceRule):
    """Settings of step 5.

    Attributes:
        detector: ``face_alignment``, ``mtcnn`` or ``auto``, as in `latentsync.face.detector.build_detector`.
    """

    detector: str = "auto"


@dataclass(frozen=True)
class FacesStep:
    """Detects the faces of every frame once, and leaves them for the later steps.

    Facts: `segment`, the clip's path (later steps cut faces out of it); `face_width` and `face_height`, the median size
    of the face's box in pixels; `face_detector`, ``face_alignment`` or ``mtcnn``. Sidecar `faces`: a
    `preprocess.face_track_file.ClipFace`. The clip itself goes on as it is.
    """

    number: ClassVar[int] = 5
    name: ClassVar[str] = "faces"
    folder: ClassVar[str | None] = "high_resolution"
    version: ClassVar[int] = 1
    reasons: ClassVar[Mapping[str, str]] = REASONS
    uses_device: ClassVar[bool] = True

    config: FacesConfig = field(default_factory=FacesConfig)

    def weights(self) -> list[Path]:
        """face-alignment's two files, or none for MTCNN, whose weights come with its package."""
        if resolve_detector(self.config.detector, _AUXILIARY) == "mtcnn":
            return []
        files = [find_box_weights(_AUXILIARY), find_landmark_weights(_AUXILIARY)]
        if None in files:
            missing = " and ".join(missing_weights(_AUXILIARY))
            raise CheckpointError(
                f"step 5 lacks {missing}: run python -m scripts.download_weights --training, or set faces.detector=auto"
            )
        return [file for file in files if file is not None]

    def load(self, device: torch.device) -> Process:
        """The function of one clip, with the detector on the device."""
        name = resolve_detector(self.config.detector, _AUXILIARY)
        return partial(filter_faces, self.config, build_detector(name, device, _AUXILIARY), name)


def filter_faces(rule: OneFaceRule, detector: FaceDetector, detector_name: str, clip: Clip, work: Path) -> Verdict:
    """The verdict on one clip; memory holds a few frames of it."""
    with VideoReader(clip.path) as frames:
        face = follow_one_face(_detections(frames, detector), rule)
    if isinstance(face, Rejected):
        return face
    sidecar = work / "faces.npz"
    write_face_track(sidecar, face)
    width, height = median_size(face)
    facts = {
        "segment": str(clip.path),
        "face_width": width,
        "face_height": height,
        "face_detector": detector_name,
    }
    return Done((Output(facts=facts, sidecars={"faces": sidecar}),))


def _detections(frames: Iterable[np.ndarray], detector: FaceDetector) -> list[list[Detection]]:
    iterator, found = iter(frames), []
    while batch := list(islice(iterator, _BATCH_FRAMES)):
        found += detector.detect(batch)
    return found
