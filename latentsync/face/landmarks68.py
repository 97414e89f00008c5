"""Detect faces and 68 landmarks with the face-alignment package, from local weights; nothing is downloaded."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from latentsync.errors import CheckpointError, first_line
from latentsync.face.detection import Detection
from latentsync.face.frames import shrink_frames
from latentsync.storage.weight_file import plain_tensors
from latentsync.weights import AUXILIARY

_LONGEST_SIDE = 640
_BOX_WEIGHTS = "s3fd-619a316812.pth"
_LANDMARK_WEIGHTS = ("2DFAN4-cd938726ad.zip", "2DFAN4-11f355bf06.pth.tar")
"""The published TorchScript file, or the plain weights that the newer package uses."""


class LandmarkNetworks(Protocol):
    """Interface of the two networks of face-alignment."""

    def boxes(self, images: torch.Tensor) -> list[np.ndarray]:
        """Return the faces of each image of (n, 3, h, w) uint8: (k, 5) x0, y0, x1, y1, score."""
        ...

    def landmarks(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return (k, 68, 2) points in pixels for (k, 5) boxes in a uint8 RGB frame (h, w, 3)."""
        ...


class Landmarks68Detector:
    """`FaceDetector` that averages the 68 landmarks into the three anchors, as the published system does.

    Args:
        device: device of the networks.
        auxiliary_dir: folder with the weights, searched before torch's own cache.
        networks: replacement for face-alignment's networks.
        longest_side: size in pixels to which frames are reduced for box detection; None keeps their size, as the
            published system does.

    Raises:
        CheckpointError: weights are missing or unreadable.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        auxiliary_dir: Path | str = AUXILIARY,
        networks: LandmarkNetworks | None = None,
        longest_side: int | None = _LONGEST_SIDE,
    ) -> None:
        self._networks = networks or load_landmark_networks(device, auxiliary_dir)
        self._longest_side = longest_side

    def in_whole_frames(self) -> "Landmarks68Detector":
        """Return a detector with the same networks that does not reduce the frames."""
        return Landmarks68Detector(networks=self._networks, longest_side=None)

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Detection]]:
        """See `FaceDetector`.

        Boxes are found in frames reduced to `longest_side`, landmarks in the full frame (in whole pixels).
        """
        if not frames:
            return []
        longest_side = self._longest_side or max(frames[0].shape[:2])
        small, to_frame = shrink_frames(frames, longest_side)
        return [
            self._faces(frame, np.asarray(boxes, dtype=np.float64).reshape(-1, 5), to_frame)
            for frame, boxes in zip(frames, self._networks.boxes(small), strict=True)
        ]

    def _faces(self, frame: np.ndarray, boxes: np.ndarray, to_frame: np.ndarray) -> list[Detection]:
        if len(boxes) == 0:
            return []
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
        boxes[:, :4] *= np.tile(to_frame, 2)
        landmarks = self._networks.landmarks(frame, boxes)
        return [
            Detection(box[:4].astype(np.float32), float(box[4]), anchors_from_68(points))
            for box, points in zip(boxes, landmarks, strict=True)
        ]


def anchors_from_68(points: np.ndarray) -> np.ndarray:
    """Return (3, 2) float32 means of left brow (17-21), right brow (22-26) and nose (27-35) of (68, 2) points."""
    means = [points[17:22].mean(axis=0), points[22:27].mean(axis=0), points[27:36].mean(axis=0)]
    return np.array(means, dtype=np.float32)


def missing_weights(auxiliary_dir: Path | str) -> list[str]:
    """Return the names of face-alignment's weight files that are neither in the folder nor in torch's cache."""
    missing = [] if find_box_weights(auxiliary_dir) else [_BOX_WEIGHTS]
    return missing if find_landmark_weights(auxiliary_dir) else [*missing, _LANDMARK_WEIGHTS[0]]


def find_box_weights(auxiliary_dir: Path | str) -> Path | None:
    """Return the path of S3FD's weights in the folder or in torch's cache, or None."""
    return _find(Path(auxiliary_dir), _BOX_WEIGHTS)


def find_landmark_weights(auxiliary_dir: Path | str) -> Path | None:
    """Return the path of the landmark network's weights in the folder or in torch's cache, or None."""
    return _find(Path(auxiliary_dir), *_LANDMARK_WEIGHTS)


def load_landmark_networks(
    device: torch.device | str = "cpu", auxiliary_dir: Path | str = AUXILIARY
) -> LandmarkNetworks:
    """Load face-alignment's networks. Raises CheckpointError if the weights are missing or unreadable."""
    return _FaceAlignmentNetworks(torch.device(device), Path(auxiliary_dir))


def _find(folder: Path, *names: str) -> Path | None:
    """Return the first of these files that exists in the folder or in torch's cache, or None."""
    folders = (folder, Path(torch.hub.get_dir()) / "checkpoints")
    return next((place / name for name in names for place in folders if (place / name).is_file()), None)


class _FaceAlignmentNetworks:
    """face-alignment's two networks, loaded from local files only."""

    def __init__(self, device: torch.device, folder: Path) -> None:
        missing = missing_weights(folder)
        if missing:
            raise CheckpointError(
                f"the face_alignment detector lacks {' and '.join(missing)}: put them into {folder}, or use mtcnn"
            )
        box_file, landmark_file = find_box_weights(folder), find_landmark_weights(folder)
        try:
            self._alignment = _build_alignment(device, str(box_file), str(landmark_file))
            plain_tensors(self._alignment.face_alignment_net.state_dict(), str(landmark_file))
            plain_tensors(self._alignment.face_detector.face_detector.state_dict(), str(box_file))
        except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise CheckpointError(
                f"cannot load {box_file} and {landmark_file}: {first_line(error)}; download them again, or use mtcnn"
            ) from error

    def boxes(self, images: torch.Tensor) -> list[np.ndarray]:
        return self._alignment.face_detector.detect_from_batch(images)

    def landmarks(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return np.stack(self._alignment.get_landmarks_from_image(frame, detected_faces=list(boxes)))


def _build_alignment(device: torch.device, box_file: str, landmark_file: str) -> Any:
    """Build face-alignment's main class with its networks loaded from these files."""
    import face_alignment
    from face_alignment.models import FAN

    class LocalFaceAlignment(face_alignment.FaceAlignment):
        def _load_native(self, network_name, network_size, device, dtype):
            if landmark_file.endswith(".zip"):
                return torch.jit.load(landmark_file, map_location=device).eval()
            network = FAN(network_size)
            network.load_state_dict(torch.load(landmark_file, map_location=device, weights_only=True))
            return network.to(device, dtype=dtype).eval()

    return LocalFaceAlignment(
        face_alignment.LandmarksType.TWO_D,
        device=str(device),
        flip_input=False,
        face_detector_kwargs={"path_to_detector": box_file},
        compile=False,
    )
