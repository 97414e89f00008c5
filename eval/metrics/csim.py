"""CSIM: cosine similarity of face embeddings of result and source, -1 to 1 (identity preservation)."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from eval.face_clips import FaceClips, paired_batches
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity
from eval.pairs import Pair
from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file
from latentsync.weights import CHECKPOINTS

STRIDE_FRAMES = 5
"""Only every fifth frame is measured."""

_SIZE = 160
_BATCH = 8


def load_embedding(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """Load facenet-pytorch's Inception-ResNet.

    The network maps (grey level - 127.5) / 128 of (n, 3, 160, 160) to embeddings (n, 512) of length 1.

    Args:
        path: its weights file `20180402-114759-vggface2.pt`.
        device: device of the network.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    from facenet_pytorch import InceptionResnetV1

    weights = {
        name: value
        for name, value in read_weight_file(path, TRAINING_DOWNLOAD).items()
        if not name.startswith("logits.")
    }
    network = InceptionResnetV1(pretrained=None, classify=False)
    fill_network(network, weights, path)
    return network.to(device).eval().requires_grad_(False)


def _build(files: tuple[Path, ...], device: torch.device) -> LoadedMetric:
    network = load_embedding(files[0], device)

    @torch.inference_mode()
    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        result, source = clips.of_result(pair), clips.crops(pair.source)
        similarities = []
        for crops in paired_batches(result, source, _BATCH, STRIDE_FRAMES):
            ours, theirs = (network(_network_input(part, device)) for part in crops)
            similarities.append(F.cosine_similarity(ours, theirs))
        return {"csim": float(torch.cat(similarities).mean())}

    return measure


def _network_input(crops: np.ndarray, device: torch.device) -> torch.Tensor:
    """Convert crops (n, R, R, 3) uint8 to the network's input (n, 3, 160, 160)."""
    images = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float()
    return (F.interpolate(images, (_SIZE, _SIZE), mode="bilinear", antialias=True) - 127.5) / 128


METRIC = NetworkMetric(
    name="csim",
    quantities=(
        Quantity("csim", "", True, "cosine similarity of face embeddings of result and source", 1.0, ("source",)),
    ),
    description="identity similarity (CSIM) to the source",
    protocol=(
        "Published values mostly use ArcFace on whole faces. Ours: facenet-pytorch's Inception-ResNet trained on "
        "VGGFace2, frame by frame against the same frame of the source, every fifth frame, aligned crops at 160 px."
    ),
    # not downloaded by scripts/download_weights.py; facenet-pytorch's release page has it
    files=(CHECKPOINTS / "auxiliary" / "20180402-114759-vggface2.pt",),
    build=_build,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
