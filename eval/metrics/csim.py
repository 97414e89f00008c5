"""CSIM: cosine similarity of face embeddings of result and source, -1 to 1, without a unit: is it the same person?"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from eval.face_clips import FaceClips, common_frames
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file
from latentsync.weights import CHECKPOINTS

STRIDE_FRAMES = 5
"""One frame in so many is looked at."""

_SIZE = 160
_BATCH = 8


def load_embedding(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """facenet-pytorch's Inception-ResNet: (grey level - 127.5) / 128 of (n, 3, 160, 160) to (n, 512) of length 1.

    Args:
        path: its weights file `20180402-114759-vggface2.pt`.
        device: where the network goes.

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


@dataclass(frozen=True)
class CsimMetric(Metric):
    """Compares with the source."""

    embedding: Path = CHECKPOINTS / "auxiliary" / "20180402-114759-vggface2.pt"

    name = "csim"
    figures = (Figure("csim", "", True, "cosine similarity of face embeddings of result and source", 1.0, ("source",)),)
    description = "identity similarity (CSIM) to the source"
    protocol = (
        "Published figures mostly use ArcFace on whole faces. Ours: facenet-pytorch's Inception-ResNet trained on "
        "VGGFace2, frame by frame against the same frame of the source, every fifth frame, aligned crops at 160 px."
    )

    def weights(self) -> list[Path]:
        """The embedding, put there by hand (facenet-pytorch's release page has it)."""
        return [self.embedding]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        network = load_embedding(self.embedding, device)

        @torch.inference_mode()
        def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
            result, source = clips.crops(sample.result, sample.source), clips.crops(sample.source)
            frames = common_frames(result, source)[::STRIDE_FRAMES]
            similarities = []
            for start in range(0, len(frames), _BATCH):
                chosen = frames[start : start + _BATCH]
                ours, theirs = (network(_pictures(clip.crops[chosen], device)) for clip in (result, source))
                similarities.append(F.cosine_similarity(ours, theirs))
            return {"csim": float(torch.cat(similarities).mean())}

        return judge


def _pictures(crops: np.ndarray, device: torch.device) -> torch.Tensor:
    """Crops (n, R, R, 3) uint8 to the network's pictures."""
    pictures = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float()
    return (F.interpolate(pictures, (_SIZE, _SIZE), mode="bilinear", antialias=True) - 127.5) / 128


METRIC = CsimMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
