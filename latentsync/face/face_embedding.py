"""Descriptors of faces by facenet-pytorch's Inception-ResNet (Schroff et al. 2015, arXiv 1503.03832)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from latentsync.face.appearance import ColourHistograms, clear_faces
from latentsync.face.detection import Detection
from latentsync.storage.weight_file import fill_network, read_weight_file
from latentsync.weights import CHECKPOINTS, COPIED_BY_HAND, FACE_EMBEDDING

EMBEDDING_WEIGHTS = CHECKPOINTS / FACE_EMBEDDING
"""Weights trained on VGGFace2; no command downloads them."""

_SIZE = 160
_SMALLEST_SHARE = 0.6
"""Share of a face's box that must be inside the frame."""

_SAME_DISTANCE = 1.0
"""Distance of two embeddings of length 1 up to which they may be of one person (a cosine of 0.5)."""


def load_embedding(path: Path = EMBEDDING_WEIGHTS, device: torch.device | str = "cpu") -> nn.Module:
    """Load facenet-pytorch's Inception-ResNet.

    The network maps the result of `embedding_input` (n, 3, 160, 160) to embeddings (n, 512) of length 1.

    Args:
        path: its weights file `20180402-114759-vggface2.pt`.
        device: device of the network.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    from facenet_pytorch import InceptionResnetV1  # imports torchvision, which most commands do without

    weights = {
        name: value
        for name, value in read_weight_file(path, f"get it from the {COPIED_BY_HAND[FACE_EMBEDDING]}").items()
        if not name.startswith("logits.")
    }
    network = InceptionResnetV1(pretrained=None, classify=False)
    fill_network(network, weights, path)
    return network.to(device).eval().requires_grad_(False)


def embedding_input(crops: np.ndarray, device: torch.device | str) -> torch.Tensor:
    """Convert crops (n, h, w, 3) uint8 to the network's input (n, 3, 160, 160): (level - 127.5) / 128."""
    images = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float()
    return (F.interpolate(images, (_SIZE, _SIZE), mode="bilinear", antialias=True) - 127.5) / 128


class FaceEmbedding:
    """`AppearanceDescriber` by an embedding of the face.

    Embeddings of length 1 are scaled so that the largest distance of one person is that of the colour histograms, for
    which the costs of `crossings` are chosen.

    Args:
        network: see `load_embedding`.
        device: its device.
    """

    name = "a face embedding"
    interval = ColourHistograms.interval
    same = ColourHistograms.same
    margin = ColourHistograms.margin

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        self._network, self._device = network, device

    @torch.inference_mode()
    def describe(self, frame: np.ndarray, faces: Sequence[Detection]) -> list[np.ndarray | None]:
        """See `AppearanceDescriber`; the descriptor has 512 numbers."""
        clear = clear_faces(faces)
        return [self._embed(frame, face.box) if is_clear else None for face, is_clear in zip(faces, clear, strict=True)]

    def _embed(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Return the descriptor of the face in a box, or None if too much of the box lies outside the frame."""
        height, width = frame.shape[:2]
        x0, y0 = np.maximum(np.round(box[:2]), 0).astype(int)
        x1, y1 = np.minimum(np.round(box[2:]), (width, height)).astype(int)
        inside = max(x1 - x0, 0) * max(y1 - y0, 0)
        if inside < max(_SMALLEST_SHARE * float(np.prod(box[2:] - box[:2])), 1):
            return None
        crop = np.ascontiguousarray(frame[y0:y1, x0:x1])
        embedding = self._network(embedding_input(crop[None], self._device))[0]
        return embedding.cpu().numpy().astype(np.float32) * (self.same / _SAME_DISTANCE)
