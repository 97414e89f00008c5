"""Face boxes only, as the published SyncNet tracker finds them: S3FD (Zhang et al. 2017, arXiv 1708.05237).

The network is face-alignment's `sfd`, from weights the user has; nothing is downloaded. Where they are missing MTCNN's
boxes can stand in, which are a little narrower: whoever reports scores says by `BoxDetector.name` which it was.
"""

import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from latentsync.errors import CheckpointError, InputError
from latentsync.face.landmarks68 import find_box_weights
from latentsync.face.reduced import reduced_frames
from latentsync.storage.weight_file import plain_tensors
from latentsync.weights import AUXILIARY

logger = logging.getLogger(__name__)

BOX_DETECTORS = ("auto", "sfd", "mtcnn")
MIN_SCORE = 0.9
"""How sure the published tracker wants a detection to be."""

_REDUCTION = 4
"""The published tracker looks at a quarter of the size."""

_SMALLEST_SIDE = 32
"""Pixels that the network's five poolings need; smaller pictures get black below and to the right."""


class BoxDetector(Protocol):
    """Finds faces, without points; coordinates are those of the frames given."""

    @property
    def name(self) -> str:
        """``sfd`` or ``mtcnn``, for reports."""
        ...

    def boxes(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Per frame (k, 5) float32 x0, y0, x1, y1 in pixels and the score, 0 to 1, best first.

        Args:
            frames: uint8 RGB (h, w, 3), all of one size.
        """
        ...


class SfdBoxDetector:
    """`BoxDetector` with S3FD on frames of a quarter of their size.

    Args:
        device: where the network runs.
        auxiliary_dir: folder with the weights, looked into before torch's own cache.
        min_score: detections below it are dropped.

    Raises:
        CheckpointError: the weights are missing or unreadable.
    """

    name = "sfd"

    def __init__(
        self,
        device: torch.device | str = "cpu",
        auxiliary_dir: Path | str = AUXILIARY,
        min_score: float = MIN_SCORE,
    ) -> None:
        from face_alignment.detection.sfd import FaceDetector

        weights = find_box_weights(auxiliary_dir)
        if weights is None:
            raise CheckpointError(
                f"the sfd detector lacks s3fd-619a316812.pth: put it into {auxiliary_dir}, or use mtcnn"
            )
        try:
            self._detector = FaceDetector(str(device), path_to_detector=str(weights), filter_threshold=min_score)
            plain_tensors(self._detector.face_detector.state_dict(), weights)
        except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"cannot load {weights}: {reason}; download it again, or use mtcnn") from error

    @torch.inference_mode()
    def boxes(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `BoxDetector`."""
        if not frames:
            return []
        small, to_frame = reduced_frames(frames, max(1, round(max(frames[0].shape[:2]) / _REDUCTION)))
        height, width = small.shape[2:]
        small = F.pad(small, (0, max(0, _SMALLEST_SIDE - width), 0, max(0, _SMALLEST_SIDE - height)))
        found = [np.array(rows, dtype=np.float64).reshape(-1, 5) for rows in self._detector.detect_from_batch(small)]
        return [_best_first(rows * np.array([*to_frame, *to_frame, 1.0])) for rows in found]


class MtcnnBoxDetector:
    """`BoxDetector` with MTCNN, whose weights come with its package.

    Args:
        device: where the networks run.
        min_score: detections below it are dropped.
    """

    name = "mtcnn"

    def __init__(self, device: torch.device | str = "cpu", min_score: float = MIN_SCORE) -> None:
        from latentsync.face.mtcnn import MtcnnDetector

        self._detector = MtcnnDetector(device)
        self._min_score = min_score

    def boxes(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `BoxDetector`."""
        found = self._detector.detect(frames)
        rows = [[[*face.box, face.score] for face in faces if face.score > self._min_score] for faces in found]
        return [_best_first(np.array(faces).reshape(-1, 5)) for faces in rows]


def build_box_detector(
    name: str = "auto", device: torch.device | str = "cpu", auxiliary_dir: Path | str = AUXILIARY
) -> BoxDetector:
    """The box detector of that name.

    Args:
        name: ``sfd`` (as published; needs weights), ``mtcnn``, or ``auto``: sfd where its weights are present, else
            mtcnn, which a warning says.
        device: where its network runs.
        auxiliary_dir: where the weights are looked for, besides torch's own cache.

    Raises:
        InputError: the name is unknown.
        CheckpointError: sfd was asked for and its weights are missing, or they are unreadable.
    """
    if name not in BOX_DETECTORS:
        raise InputError(f"unknown box detector {name!r}: use {', '.join(BOX_DETECTORS)}")
    is_missing = find_box_weights(auxiliary_dir) is None
    if name == "auto" and is_missing:
        logger.warning(
            "s3fd-619a316812.pth is not in %s: face tracks come from MTCNN's boxes, not the published S3FD's",
            auxiliary_dir,
        )
    if name == "mtcnn" or (name == "auto" and is_missing):
        return MtcnnBoxDetector(device)
    return SfdBoxDetector(device, auxiliary_dir)


def _best_first(rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(-rows[:, 4], kind="stable")].astype(np.float32)
