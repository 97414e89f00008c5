"""Files that a training writes, and the effect of its settings."""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from latentsync.data.batching import collate
from latentsync.training.metrics import read_rows
from latentsync.training.trainer import Trainer
from tests.integration.tiny_training import TinyDataset, TinyStep, fit, tiny_config


class RisingValidator:
    """Return the given values; check the model, and draw random numbers as a sampler does."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.folders, self.weights = list(values), list[Path](), list[torch.Tensor]()

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.randn(3)
        self.folders.append(folder)
        self.weights.append(next(model.parameters()).detach().clone())
        return {"loss": self.values.pop(0), "sync": 1.0}


def test_a_run_without_validation_has_charts(tmp_path: Path) -> None:
    fit(tmp_path)
    Image.open(tmp_path / "charts/loss.png").verify()


def test_the_run_folder(tmp_path: Path) -> None:
    validator = RisingValidator([3.0, 1.0, 2.0, math.nan])
    settings = {"validate_every": 1, "save_every": 0, "keep_last": 1, "best_metric": {"name": "loss"}}
    report = fit(tmp_path, validator=validator, **settings)
    assert report.progress.best_step == 2
    assert validator.folders[0] == tmp_path / "validation/step_00000001"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".latentsync.json", ".latentsync.lock", "charts", "checkpoints", "config.yaml", "metrics.jsonl",
        "tensorboard", "tiny.pt",
    ]  # fmt: skip
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["best", "step_00000002", "step_00000004"]
    assert os.readlink(tmp_path / "checkpoints/best") == "step_00000002"
    assert OmegaConf.load(tmp_path / "config.yaml").training.max_steps == 4
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [(row["step"], row["split"]) for row in rows[:3]] == [(1, "train"), (1, "validation"), (2, "train")]
    assert rows[-1]["loss"] is None
    assert {"loss", "absolute", "gradient_norm", "learning_rate", "samples_per_second"} <= rows[0].keys()
    Image.open(tmp_path / "charts/loss.png").verify()
    assert (tmp_path / "charts/sync.png").is_file()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    logged = [(event.step, event.value) for event in board.Scalars("loss/train")]
    assert logged == [(row["step"], pytest.approx(row["loss"])) for row in rows if row["split"] == "train"]
    history = torch.load(tmp_path / "tiny.pt", weights_only=True)["history"]
    assert history["validation_step"] == [1, 2, 3, 4]
    assert history["validation_loss"][:3] == [3.0, 1.0, 2.0]


def test_validating_changes_nothing(tmp_path: Path) -> None:
    fit(tmp_path / "with", TinyStep(dropout=0.3), RisingValidator([1.0] * 2), validate_every=2, ema_decay=0.9)
    fit(tmp_path / "without", TinyStep(dropout=0.3), ema_decay=0.9)
    one, other = (
        torch.load(tmp_path / name / "tiny.pt", weights_only=True)["state_dict"] for name in ("with", "without")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_averaged_weights_are_validated_and_exported_and_training_keeps_its_own(tmp_path: Path) -> None:
    validator = RisingValidator([1.0])
    step = TinyStep()
    fit(tmp_path, step, validator, validate_every=4, ema_decay=0.9, optimizer={"lr": 0.1})
    exported = torch.load(tmp_path / "tiny.pt", weights_only=True)["state_dict"]["0.weight"]
    assert torch.equal(exported, validator.weights[0])
    assert not torch.allclose(exported, step.model[0].weight)


def test_accumulation_is_a_larger_batch(tmp_path: Path) -> None:
    large = fit(tmp_path / "large", batch_size=8, log_every=4)
    small = fit(tmp_path / "small", batch_size=4, gradient_accumulation=2, log_every=4)
    assert small.metrics["loss"] == pytest.approx(large.metrics["loss"], rel=1e-5)
    assert small.metrics["gradient_norm"] == pytest.approx(large.metrics["gradient_norm"], rel=1e-5)
    one, other = (
        torch.load(tmp_path / name / "tiny.pt", weights_only=True)["state_dict"] for name in ("large", "small")
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6)


def test_bfloat16_on_the_cpu(tmp_path: Path) -> None:
    seen = list[torch.dtype]()

    class Watching(TinyStep):
        def __call__(self, model: Any, batch: Any, context: Any) -> Any:
            handle = self.model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
            result = super().__call__(model, batch, context)
            handle.remove()
            return result

    step = Watching()
    report = fit(tmp_path, step, mixed_precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert step.model[0].weight.dtype == torch.float32
    assert math.isfinite(report.metrics["loss"])


def test_only_what_requires_a_gradient_moves(tmp_path: Path) -> None:
    step = TinyStep()
    step.model[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    fit(tmp_path, step, ema_decay=0.9)
    after = torch.load(tmp_path / "tiny.pt", weights_only=True)["state_dict"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"3.weight", "3.bias"}


def test_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    fit(tmp_path, optimizer={"lr": 1.0}, schedule={"name": "linear", "warmup_steps": 1, "floor": 0.1})
    rates = [row["learning_rate"] for row in read_rows(tmp_path / "metrics.jsonl")]
    assert rates == pytest.approx([0.5, 1.0, 0.7, 0.4])


def test_callbacks_see_metrics_and_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = list[tuple[int, float]]()

    def watch(step: int, metrics: dict[str, float]) -> str | None:
        seen.append((step, metrics["loss"]))
        return "the loss is flat" if step == 2 else None

    config = tiny_config(tmp_path, log_every=2)
    Trainer(config, TinyStep(), TinyDataset(), collate, callbacks=[watch]).fit()
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert seen == [(row["step"], row["loss"]) for row in rows]
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == ["the loss is flat"]


def test_gradient_checkpointing_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    step = TinyStep()
    fit(tmp_path / "cannot", step, max_steps=1, gradient_checkpointing=True)
    assert "does not support gradient checkpointing" in caplog.text
    asked = list[bool]()
    step = TinyStep()
    step.model.enable_gradient_checkpointing = lambda: asked.append(True)
    fit(tmp_path / "can", step, max_steps=1, gradient_checkpointing=True)
    assert asked == [True]


def test_the_best_is_remembered_across_a_resume(tmp_path: Path) -> None:
    settings = {"validate_every": 2, "best_metric": {"name": "sync", "mode": "max"}, "keep_last": 1}
    fit(tmp_path, validator=RisingValidator([1.0]), max_steps=2, **settings)
    report = fit(tmp_path, validator=RisingValidator([1.0, 1.0]), max_steps=6, **settings)
    assert report.progress.best_step == 2
    assert json.loads((tmp_path / "checkpoints/best/trainer_state.json").read_text())["global_step"] == 2
