"""Sync by StableSyncNet: similarity of picture and sound (0 to 1, no unit) and offset in frames of 40 ms."""

import sys
from pathlib import Path

import torch

from eval.face_clips import SAMPLES_PER_FRAME, FaceClips
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, Judge, Metric, Sample
from eval.not_measured import NotMeasured
from latentsync.errors import InputError
from latentsync.judges.stable_sync_scorer import in_sync_similarity, load_stable_sync_scorer, score_similarities
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT


class StableSyncMetric(Metric):
    """Looks at the result and the driving speech only.

    Args:
        name: of the metric; its figures begin with it.
        config, checkpoint: of a SyncNet on pixels.
        who: which network it is, for people.
    """

    def __init__(self, name: str, config: Path, checkpoint: Path, who: str) -> None:
        self.config, self.checkpoint = config, checkpoint
        self.name = name
        self.figures = (
            Figure(f"{name}_similarity", "", True, "similarity of picture and sound without any shift"),
            Figure(f"{name}_confidence", "", True, "best similarity over shifts less their median"),
            Figure(f"{name}_offset", "frames", None, "shift of the best similarity", 0.0),
        )
        self.description = f"similarity of picture and sound by {who}"
        self.protocol = (
            "LatentSync's paper reports the accuracy of its SyncNet, not this. Mean similarity over all windows of the "
            "longest stretch with the face, on aligned crops, at shifts of up to 15 frames. The network trained the "
            "model too, so it flatters it: SyncNet-v2 (`sync`) is the independent judge."
        )

    def weights(self) -> list[Path]:
        """The SyncNet and its configuration."""
        return [self.checkpoint, self.config]

    def load(self, device: torch.device) -> Judge:
        """The network; CheckpointError where it cannot be read."""
        scorer = load_stable_sync_scorer(self.config, self.checkpoint, device)

        def judge(sample: Sample, clips: FaceClips) -> dict[str, float]:
            clip = clips.crops(sample.result, sample.source)
            stretch = max(clip.stretches(), key=lambda one: one.stop - one.start)
            samples = clips.samples(sample.audio, len(clip))
            spoken = samples[stretch.start * SAMPLES_PER_FRAME : stretch.stop * SAMPLES_PER_FRAME]
            try:
                curve = scorer.curve(clip.crops[stretch], spoken)
            except InputError as error:
                raise NotMeasured(str(error)) from error
            score = score_similarities(curve)
            return {
                f"{self.name}_similarity": in_sync_similarity(curve),
                f"{self.name}_confidence": score.confidence,
                f"{self.name}_offset": float(score.offset),
            }

        return judge


METRICS = (
    StableSyncMetric(
        "stable_sync",
        REPOSITORY_ROOT / "configs" / "demo" / "syncnet.yaml",
        CHECKPOINTS / "demo" / "stable_syncnet.pt",
        "the demo SyncNet, which knows synthetic people only",
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
