"""A training that was stopped and resumed equals an uninterrupted one."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentsync.data.batching import collate
from latentsync.errors import CheckpointError
from latentsync.training.metrics import read_rows
from latentsync.training.trainer import Trainer, TrainReport
from tests.integration.tiny_training import TinyDataset, TinyStep, fit, tiny_config

MUON = {
    "optimizer": {"name": "muon", "plain_names": ["3."], "lr": 0.01},
    "schedule": {"name": "cosine", "warmup_steps": 2, "floor": 0.1},
    "ema_decay": 0.9,
}


def assert_equal_checkpoints(one: Path, other: Path) -> None:
    assert one.name == other.name
    for name in ("model.safetensors", "optimizer.bin", "scheduler.bin", "average_0.pt", "random_0.pt", "tiny.pt"):
        load = load_file if name.endswith("safetensors") else torch.load
        assert_same(load(one / name), load(other / name), name)


def assert_same(one: Any, other: Any, where: str) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            if key not in ("train_seconds", "train_samples_per_second"):
                assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert one == other, where


def test_four_steps_are_two_a_kill_and_two_more(tmp_path: Path, repository: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = [{"run_dir": str(killed), "step": {"dropout": 0.3, "mishap": "kill", "at": 3}, "num_workers": 1, **MUON}]
    run = subprocess.run(
        [sys.executable, "-m", "tests.integration.tiny_training", json.dumps(settings)],
        cwd=repository, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL
    assert [path.name for path in (killed / "checkpoints").iterdir()] == ["step_00000002"]
    assert len(read_rows(killed / "metrics.jsonl")) == 3  # the third step is beyond the checkpoint
    fit(whole, TinyStep(dropout=0.3), **MUON)
    fit(killed, TinyStep(dropout=0.3), num_workers=1, **MUON)
    assert_equal_checkpoints(whole / "checkpoints/step_00000004", killed / "checkpoints/step_00000004")
    assert [row["step"] for row in read_rows(killed / "metrics.jsonl")] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_saves_and_leaves(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(whole, TinyStep(dropout=0.3), **MUON)
    handler = signal.getsignal(signal.Signals[name])
    report = fit(stopped, TinyStep(dropout=0.3, mishap=name, at=2), **MUON)
    assert report.exit_code == 128 + signal.Signals[name]
    assert report.checkpoint == stopped / "checkpoints/step_00000003"
    assert "the same command continues" in caplog.text
    assert signal.getsignal(signal.Signals[name]) is handler
    assert fit(stopped, TinyStep(dropout=0.3), **MUON).exit_code == 0
    assert_equal_checkpoints(whole / "checkpoints/step_00000004", stopped / "checkpoints/step_00000004")


def test_a_signal_cuts_a_validation_short(tmp_path: Path) -> None:
    def validator(model: Any, folder: Path, step: int) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("goes on after the signal")

    report = fit(tmp_path, validator=validator, validate_every=1)
    assert (report.global_step, report.exit_code) == (1, 143)
    assert report.checkpoint == tmp_path / "checkpoints/step_00000001"


@pytest.mark.parametrize("stopped_step", [1, 4])
def test_a_validation_that_a_signal_prevented_is_made_up(tmp_path: Path, stopped_step: int) -> None:
    signals = iter([signal.SIGTERM])

    def validator(model: Any, folder: Path, step: int) -> dict[str, float]:
        if step == stopped_step and (number := next(signals, None)) is not None:
            os.kill(os.getpid(), number)
        return {"output": float(abs(step - stopped_step))}

    best = {"validate_every": 1, "best_metric": {"name": "output", "mode": "min"}}
    assert fit(tmp_path, validator=validator, **best).exit_code == 143
    report = fit(tmp_path, validator=validator, **best)
    assert (report.global_step, report.was_finished) == (4, False)
    assert (report.progress.best_step, report.progress.best_value) == (stopped_step, 0.0)
    assert (tmp_path / "checkpoints/best").resolve().name == f"step_{stopped_step:08d}"
    validated = [row["step"] for row in read_rows(tmp_path / "metrics.jsonl") if row["split"] == "validation"]
    assert validated == [1, 2, 3, 4]
    assert fit(tmp_path, validator=validator, **best).was_finished


def test_a_finished_run_does_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = fit(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with caplog.at_level(logging.INFO, "latentsync"):
        again = fit(tmp_path)
    assert again.was_finished
    assert again.checkpoint == first.checkpoint
    assert "is finished" in caplog.text
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert fit(tmp_path, max_steps=5).global_step == 5


def test_another_configuration_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, max_steps=2)
    fit(tmp_path, seed=3)
    assert "differs from that of" in caplog.text
    assert "training.seed" in caplog.text
    assert "max_steps" not in caplog.text


def test_a_run_with_an_old_key_is_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def train(max_steps: int, diffusion: dict[str, float]) -> TrainReport:
        resolved = {"training": {"seed": 0}, "diffusion": diffusion}
        config = tiny_config(tmp_path, max_steps=max_steps)
        return Trainer(config, TinyStep(), TinyDataset(), collate, resolved_config=resolved).fit()

    train(2, {"start_share": 0.3, "audio_dropout": 0.1})  # as earlier versions wrote it
    assert train(3, {"pure_noise_prob": 0.3, "audio_dropout": 0.1}).global_step == 3
    assert "differs from that of" not in caplog.text
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3]
    train(4, {"pure_noise_prob": 0.4, "audio_dropout": 0.1})
    assert "diffusion.pure_noise_prob" in caplog.text


def test_a_resume_takes_the_configured_learning_rate(tmp_path: Path) -> None:
    constant = {"schedule": {"name": "constant", "warmup_steps": 0}}
    fit(tmp_path, max_steps=2, optimizer={"name": "adamw", "lr": 0.01}, **constant)
    fit(tmp_path, max_steps=4, optimizer={"name": "adamw", "lr": 0.001}, **constant)
    rates = [row["learning_rate"] for row in read_rows(tmp_path / "metrics.jsonl")]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize("max_steps", [3, 4])
def test_batches_of_another_size_go_on_where_the_others_ended(tmp_path: Path, max_steps: int) -> None:
    fit(tmp_path, batch_size=4, max_steps=max_steps)
    fit(tmp_path, batch_size=2, gradient_accumulation=2, max_steps=6)
    fit(tmp_path / "whole", batch_size=4, max_steps=6)
    one, other = (
        torch.load(path / "tiny.pt", weights_only=True)["state_dict"] for path in (tmp_path, tmp_path / "whole")
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_resume_names_a_checkpoint(tmp_path: Path) -> None:
    fit(tmp_path / "first")
    fit(tmp_path / "second", resume=str(tmp_path / "first/checkpoints/step_00000002"))
    one, other = (
        torch.load(tmp_path / name / "tiny.pt", weights_only=True)["state_dict"] for name in ("first", "second")
    )
    assert_same(one, other, "weights")


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        ("none", "already holds checkpoints up to step 4"),
        ("elsewhere", "is no checkpoint folder"),
        ("step_00000007", "is not an intact checkpoint .there is no such folder.: give another checkpoint"),
        ("{run}/checkpoints/step_00000002", "already holds step 4, beyond"),
    ],
)
def test_a_resume_that_cannot_be(tmp_path: Path, resume: str, message: str) -> None:
    fit(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        fit(tmp_path, resume=resume.format(run=tmp_path))


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, max_steps=2)
    step = TinyStep()
    step.model = torch.nn.Sequential(torch.nn.Linear(6, 7), torch.nn.Linear(7, 1))
    with pytest.raises(CheckpointError, match="cannot continue from"):
        fit(tmp_path, step)
