"""What the SyncNet's training shows of itself: its figures on held-out clips."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from latentsync.data.clip_check import TrainingClip
from latentsync.training.sync_accuracy import SyncAccuracy, figures


class SyncNetValidator:
    """Scores the current weights on held-out clips; the trainer calls it.

    Args:
        accuracy: looks at one clip.
        clips: held-out clips, always the same.
    """

    def __init__(self, accuracy: SyncAccuracy, clips: Sequence[TrainingClip]) -> None:
        self.accuracy, self.clips = accuracy, list(clips)

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """The figures of `latentsync.training.sync_accuracy.figures`; nothing is written."""
        return figures([self.accuracy.score(model, clip) for clip in self.clips])
