"""When a training is complete: its steps are done, or its time is used up."""

from latentsync.training.checkpointing import Progress
from latentsync.training.trainer_config import TrainerConfig


def is_complete(progress: Progress, config: TrainerConfig) -> bool:
    """Return True if all steps are done, or the time is used up."""
    return progress.global_step >= config.max_steps or used_time(progress, config) >= 1


def used_time(progress: Progress, config: TrainerConfig) -> float:
    """Return the used share of the time, in [0, 1]; 0 without a limit."""
    return 0.0 if config.max_minutes is None else min(1.0, progress.seconds / (60 * config.max_minutes))
