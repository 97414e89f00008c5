"""Trainings of a limited time, measured by a clock that the tests set, and trainings that are ended early."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from latentsync.data.batching import collate
from latentsync.training.checkpointing import Progress
from latentsync.training.metrics import read_rows
from latentsync.training.trainer import Trainer, TrainReport
from tests.integration.tiny_training import TinyDataset, TinyStep, tiny_config

LINEAR = {"schedule": {"name": "linear"}, "optimizer": {"lr": 1.0}}


def clock(seconds_per_step: float) -> Callable[[], float]:
    """Return a clock that is read at the start and at the end of a step."""
    times = (step * seconds_per_step + end for step in itertools.count() for end in (0.0, seconds_per_step))
    return lambda: next(times)


def fit(run_dir: Path, seconds_per_step: float, validator: Any = None, after_step: Any = None, **config: Any):
    settings: dict[str, Any] = {"max_steps": 1000, "max_minutes": 1.0, **LINEAR, **config}
    trainer = Trainer(
        *(tiny_config(run_dir, **settings), TinyStep(), TinyDataset(), collate),
        validator=validator,
        after_step=after_step,
        clock=clock(seconds_per_step),
    )
    return trainer.fit()


def rates(run_dir: Path) -> list[float]:
    return [row["learning_rate"] for row in read_rows(run_dir / "metrics.jsonl") if row["split"] == "train"]


def test_the_learning_rate_falls_with_the_time_and_ends_with_it(tmp_path: Path) -> None:
    report = fit(tmp_path, seconds_per_step=15)
    assert (report.global_step, report.progress.seconds) == (4, 60)
    assert rates(tmp_path) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert report.metrics["fraction"] == 0.75, "the step function is given the share of the time"
    assert (tmp_path / "checkpoints" / "step_00000004").is_dir()
    assert fit(tmp_path, seconds_per_step=15).was_finished


def test_a_step_that_exceeds_the_time_is_the_last(tmp_path: Path) -> None:
    assert fit(tmp_path, seconds_per_step=25).global_step == 3


def test_the_steps_are_limited_too(tmp_path: Path) -> None:
    assert fit(tmp_path, seconds_per_step=1, max_steps=4).global_step == 4
    assert rates(tmp_path) == pytest.approx([1, 0.75, 0.5, 0.25])


def test_a_resumed_training_has_the_time_that_is_left(tmp_path: Path) -> None:
    stop_after_two = iter([False, True])
    first = fit(tmp_path, seconds_per_step=20, max_minutes=2.0, after_step=lambda progress: next(stop_after_two))
    assert (first.global_step, first.was_ended_early, first.exit_code) == (2, True, 0)
    second = fit(tmp_path, seconds_per_step=40, max_minutes=2.0)
    assert (second.global_step, second.progress.seconds, second.was_ended_early) == (4, 120, False)
    assert rates(tmp_path) == pytest.approx([1, 5 / 6, 2 / 3, 1 / 3])


def test_an_early_end_is_saved_and_exported_as_the_last_step_would_be(tmp_path: Path) -> None:
    seen: list[int] = []

    def after_step(progress: Progress) -> bool:
        seen.append(progress.global_step)
        return progress.global_step == 3

    settings: dict[str, Any] = {"ema_decay": 0.9, "save_every": 0, "log_every": 100}
    report = fit(tmp_path, 1, after_step=after_step, **settings)
    assert seen == [1, 2, 3]
    assert report.checkpoint == tmp_path / "checkpoints" / "step_00000003"
    assert torch.load(tmp_path / "tiny.pt", weights_only=True)["global_step"] == 3
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [3]


def test_validations_are_a_time_apart(tmp_path: Path) -> None:
    steps: list[int] = []

    def validator(model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        steps.append(global_step)
        return {}

    report: TrainReport = fit(tmp_path, 9, validator, validate_minutes=1 / 3)
    assert report.global_step == 7
    assert steps == [3, 5, 7], "after 27, 45 and 63 s, the first steps beyond 20, 40 and 60 s"
