"""The learning rate's curve against diffusers' schedules."""

import pytest
import torch
from diffusers.optimization import get_scheduler
from torch import nn

from latentsync.training.schedules import build_schedule, learning_rate_factor
from latentsync.training.trainer_config import ScheduleConfig


def rates(schedule: torch.optim.lr_scheduler.LambdaLR, num_steps: int) -> list[float]:
    values = []
    for _ in range(num_steps):
        values.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return values


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_falls_as_in_diffusers(name: str) -> None:
    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)

    own = rates(build_schedule(optimizer(), ScheduleConfig(name, warmup_steps=5), 40), 40)
    reference = {"constant": "constant_with_warmup"}.get(name, name)
    theirs = rates(get_scheduler(reference, optimizer(), num_warmup_steps=5, num_training_steps=40), 40)
    assert own[5:] == pytest.approx(theirs[5:])


def test_no_step_of_the_warm_up_is_lost() -> None:
    config = ScheduleConfig("cosine", warmup_steps=4)
    assert [learning_rate_factor(step, config, 20) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_ends_at_the_floor(name: str) -> None:
    config = ScheduleConfig(name, floor=0.1)
    values = [learning_rate_factor(step, config, 10) for step in range(13)]
    assert values[10:] == pytest.approx([0.1] * 3)
    assert values == sorted(values, reverse=True)
