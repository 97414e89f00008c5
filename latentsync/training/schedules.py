"""The learning rate's curve."""

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentsync.training.trainer_config import ScheduleConfig


def learning_rate_factor(step: int, config: ScheduleConfig, max_steps: int) -> float:
    """Share of the peak rate at `step` (from 0): a linear rise, then the configured fall to the floor at `max_steps`.

    The first step of a warm-up is not lost at rate 0: step s of w has (s + 1) / (w + 1).
    """
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    fraction = min((step - config.warmup_steps) / max(max_steps - config.warmup_steps, 1), 1.0)
    falls = {"constant": 1.0, "linear": 1 - fraction, "cosine": 0.5 * (1 + math.cos(math.pi * fraction))}
    return config.floor + (1 - config.floor) * falls[config.name]


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, max_steps: int) -> LambdaLR:
    """The curve applied to every group of the optimizer; one call of its `step` per optimizer step."""
    return LambdaLR(optimizer, partial(learning_rate_factor, config=config, max_steps=max_steps))
