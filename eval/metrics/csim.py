"""CSIM: cosine similarity of face embeddings of result and source, -1 to 1 (identity preservation)."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from eval.face_clips import FaceClips, paired_batches
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, NetworkMetric, Quantity
from eval.pairs import Pair
from latentsync.face.face_embedding import EMBEDDING_WEIGHTS, embedding_input, load_embedding

STRIDE_FRAMES = 5
"""Only every fifth frame is measured."""

_BATCH = 8


def _build(files: tuple[Path, ...], device: torch.device) -> LoadedMetric:
    network = load_embedding(files[0], device)

    @torch.inference_mode()
    def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
        result, source = clips.of_result(pair), clips.crops(pair.source)
        similarities = []
        for crops in paired_batches(result, source, _BATCH, STRIDE_FRAMES):
            ours, theirs = (network(embedding_input(part, device)) for part in crops)
            similarities.append(F.cosine_similarity(ours, theirs))
        return {"csim": float(torch.cat(similarities).mean())}

    return measure


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
    files=(EMBEDDING_WEIGHTS,),
    build=_build,
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
