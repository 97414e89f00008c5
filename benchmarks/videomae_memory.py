"""Measure the activations that TREPA's VideoMAE ViT-g stores for the backward pass, with and without checkpointing.

    python -m benchmarks.videomae_memory

One window of 16 frames in bfloat16. All blocks are equal, so networks of one and of two blocks are measured, on the CPU
with fused attention and constant weights, and their difference is that of each of the 40 blocks. Frozen weights are not
included.
"""

import sys
from dataclasses import replace

import torch
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.measurement import GIB
from latentsync.cli import OneLineParser
from latentsync.judges.videomae import VideoFeatures, VideoMaeSize


def saved_bytes(features: VideoFeatures, frames: torch.Tensor) -> int:
    """Return the bytes that autograd stores in one forward pass of frames (b, f, 3, h, w) that require a gradient.

    Every storage counts once; the network's weights are not included.
    """
    weights = {tensor.untyped_storage().data_ptr() for tensor in features.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        out = features(frames.detach().requires_grad_())
    assert out.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def constant_network(size: VideoMaeSize) -> VideoFeatures:
    """Build a frozen network in bfloat16 whose weights are all equal."""
    with torch.device("meta"):
        features = VideoFeatures(size)
    embeddings = features.encoder.embeddings
    features = features.to_empty(device="cpu").bfloat16()
    embeddings.position_embeddings = torch.full((1, embeddings.num_patches, size.width), 0.01)
    for tensor in features.state_dict().values():
        tensor.fill_(0.01)
    return features.eval().requires_grad_(False)


def main() -> int:
    """Print a Markdown table and return 0."""
    OneLineParser(description="measure the activations that TREPA's VideoMAE stores for one window").parse_args()
    full = VideoMaeSize()
    frames = torch.zeros(1, full.num_frames, 3, 256, 256)
    sys.stdout.write("| activations of the ViT-g for one window | per block | total |\n|---|---|---|\n")
    for recompute, name in ((False, "stored"), (True, "recomputed")):
        counts = []
        for depth in (1, 2):
            features = constant_network(replace(full, depth=depth))
            features.recompute = recompute
            counts.append(saved_bytes(features, frames))
        block = counts[1] - counts[0]
        total = counts[0] + (full.depth - 1) * block
        sys.stdout.write(f"| {name} | {block / GIB:.3f} GiB | {total / GIB:.2f} GiB |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
