"""Sync by StableSyncNet: similarity of video and audio (0 to 1, no unit) and offset in frames of 40 ms."""

import sys
from pathlib import Path

import torch

from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import LoadedMetric, Metric, Quantity
from eval.pairs import Pair
from latentsync.errors import InputError, NotMeasured
from latentsync.judges.stable_sync_scorer import in_sync_similarity, load_stable_sync_scorer, score_similarities
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT


class StableSyncMetric(Metric):
    """Measures the result and the driving audio only.

    Args:
        name: name of the metric, and prefix of its quantities.
        config, checkpoint: configuration and weights of a SyncNet on pixels.
        network: description of the network for readers.
    """

    def __init__(self, name: str, config: Path, checkpoint: Path, network: str) -> None:
        self.config, self.checkpoint = config, checkpoint
        self.name = name
        self.quantities = (
            Quantity(f"{name}_similarity", "", True, "similarity of video and audio without any shift"),
            Quantity(f"{name}_confidence", "", True, "best similarity over shifts less their median"),
            Quantity(f"{name}_offset", "frames", None, "shift of the best similarity", 0.0),
        )
        self.description = f"similarity of video and audio by {network}"
        self.protocol = (
            "LatentSync's paper reports the accuracy of its SyncNet, not this. Mean similarity over all windows of the "
            "longest span with the face, on aligned crops, at shifts of up to 15 frames. The network trained the "
            "model too, so it is biased in its favour: SyncNet-v2 (`sync`) is independent."
        )

    def weights(self) -> list[Path]:
        """Return the SyncNet's weights and its configuration."""
        return [self.checkpoint, self.config]

    def load(self, device: torch.device) -> LoadedMetric:
        """Load the network; raise CheckpointError if it cannot be read."""
        scorer = load_stable_sync_scorer(self.config, self.checkpoint, device)

        def measure(pair: Pair, clips: FaceClips) -> dict[str, float]:
            clip = clips.of_result(pair)
            span = max(clip.valid_spans(), key=lambda one: one.stop - one.start)
            samples = clips.samples(pair.audio, pair.result, len(clip))
            spoken = samples[span.start * SAMPLES_PER_FRAME : span.stop * SAMPLES_PER_FRAME]
            try:
                curve = scorer.curve(clip.crops[span], spoken)
            except InputError as error:
                raise NotMeasured(str(error)) from error
            score = score_similarities(curve)
            return {
                f"{self.name}_similarity": in_sync_similarity(curve),
                f"{self.name}_confidence": score.confidence,
                f"{self.name}_offset": float(score.offset),
            }

        return measure


METRICS = (
    StableSyncMetric(
        "stable_sync",
        REPOSITORY_ROOT / "configs" / "demo" / "syncnet.yaml",
        CHECKPOINTS / "demo" / "stable_syncnet.pt",
        "the demo SyncNet, which was trained on synthetic people only",
    ),
    StableSyncMetric(
        "stable_sync_published",
        REPOSITORY_ROOT / "configs" / "syncnet" / "syncnet_16_pixel_attn.yaml",
        CHECKPOINTS / "stable_syncnet.pt",
        "the published StableSyncNet",
    ),
)

if __name__ == "__main__":
    sys.exit(run_command(METRICS[0]))
