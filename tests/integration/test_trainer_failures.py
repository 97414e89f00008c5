"""Errors during a training, and the files that remain afterwards."""

import errno
import json
import os
import shutil
import signal
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import AutocastKwargs

from latentsync.data.batching import ItemKey, collate
from latentsync.errors import ConfigError, InputError, LatentSyncError
from latentsync.training import session
from latentsync.training.checkpointing import CheckpointFolder, CheckpointSaveError
from latentsync.training.launch import build_accelerator
from latentsync.training.trainer import NonFiniteLossError, Trainer
from latentsync.training.trainer_config import TrainerConfig
from tests.integration.tiny_training import TinyDataset, TinyStep, fit, tiny_config


@pytest.mark.parametrize(("mishap", "what"), [("nan", "loss"), ("inf_gradient", "gradient norm")])
def test_a_number_that_is_none_stops(tmp_path: Path, mishap: str, what: str) -> None:
    with pytest.raises(NonFiniteLossError, match=f"the {what} of step 3 .* clip_.*step_00000002") as caught:
        fit(tmp_path, TinyStep(mishap=mishap))
    assert isinstance(caught.value, LatentSyncError)
    assert str(caught.value).count("clip_") == 4
    state = torch.load(tmp_path / "tiny.pt", weights_only=True)
    assert state["global_step"] == 2
    assert fit(tmp_path).global_step == 4


class FailingDisk:
    """Like torch.save, but for one step it writes half a file and raises an OS error, wrapped or not."""

    def __init__(self, part: str, number: int, is_wrapped: bool = False) -> None:
        self.part, self.number, self.is_wrapped, self.save = part, number, is_wrapped, torch.save

    def __call__(self, content: Any, path: Path | str, **options: Any) -> None:
        if self.part not in str(path):
            self.save(content, path, **options)
            return
        Path(path).write_bytes(b"half a file")
        if self.is_wrapped:  # as safetensors does
            raise RuntimeError(f"I/O error: {os.strerror(self.number)} (os error {self.number})")
        raise OSError(self.number, os.strerror(self.number), str(path))


@pytest.mark.parametrize(
    ("part", "number", "is_wrapped", "remedy"),
    [
        ("tiny.pt", errno.ENOSPC, False, "free some space"),
        ("optimizer.bin", errno.ENOSPC, True, "free some space"),
        ("optimizer.bin", errno.EIO, False, "check the disk"),
        ("random_0.pt", errno.EROFS, True, "have the file system mounted for writing"),
        ("tiny.pt", errno.EACCES, False, "allow writing there"),
    ],
)
def test_a_failing_disk_ends_the_run_names_its_cause_and_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, number: int, is_wrapped: bool, remedy: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", FailingDisk(f"step_00000004.partial/{part}", number, is_wrapped))
        with pytest.raises(CheckpointSaveError, match=rf"{os.strerror(number)}.*{remedy}.*step_00000002") as failed:
            fit(tmp_path)
    assert ("space" in str(failed.value)) == (number == errno.ENOSPC)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_00000002"]
    assert torch.load(tmp_path / "tiny.pt", weights_only=True)["global_step"] == 2
    assert fit(tmp_path).global_step == 4


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "validation", "charts", "config.yaml", "metrics.jsonl"])
def test_what_is_in_the_way_in_the_run_folder_is_named(tmp_path: Path, name: str) -> None:
    fit(tmp_path, max_steps=1)
    path = tmp_path / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.mkdir() if "." in name else path.write_text("a file")
    with pytest.raises(InputError, match=rf"{name} is in the way of a .* move it away, or choose another"):
        fit(tmp_path)


class UnreadableDataset(TinyDataset):
    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        raise InputError("clip_3.mp4 cannot be read: restore it")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_clip_that_cannot_be_read_is_one_line_from_a_worker_too(tmp_path: Path, num_workers: int) -> None:
    config = tiny_config(tmp_path, num_workers=num_workers)
    with pytest.raises(InputError, match=r"^clip_3\.mp4 cannot be read: restore it$"):
        Trainer(config, TinyStep(), UnreadableDataset(), collate).fit()
    assert not active_children(), "a worker that is left keeps Python from ending"


class KilledDataset(TinyDataset):
    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("the process was killed")


def test_a_killed_data_worker_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, num_workers=1)
    with pytest.raises(LatentSyncError, match=r"^[^\n]*lower training\.num_workers \(1\)[^\n]*--shm-size 8g\)$"):
        Trainer(config, TinyStep(), KilledDataset(), collate).fit()
    assert not active_children()


def test_nothing_to_train(tmp_path: Path) -> None:
    step = TinyStep()
    step.model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter of the model is trainable"):
        fit(tmp_path, step)


def test_the_scaler_skips_an_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale beyond float16's range overflows until the scaler has lowered it; then training continues."""

    def with_scaler(config: TrainerConfig) -> Any:
        accelerator = build_accelerator(config)
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, backoff_factor=2.0**-20)
        return accelerator

    monkeypatch.setattr(session, "build_accelerator", with_scaler)
    report = fit(tmp_path, max_steps=5, ema_decay=0.9)
    assert 0 < report.progress.num_skipped_steps < 3
    assert report.metrics["skipped_steps"] == report.progress.num_skipped_steps
    assert report.metrics["gradient_norm"] < 100
    saved = json.loads((tmp_path / "checkpoints/step_00000005/trainer_state.json").read_text())
    assert saved["num_skipped_steps"] == report.progress.num_skipped_steps
    assert (CheckpointFolder(tmp_path).final(5) / "scaler.pt").is_file()


def test_the_scaler_takes_its_scale_out_before_gradients_are_clipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scaling by a power of two is exact: norms, clipped steps and weights equal those without a scaler."""
    scale = 2.0**16

    def with_scaler(config: TrainerConfig) -> Any:
        accelerator = build_accelerator(config)
        accelerator.state._mixed_precision = "fp16"
        accelerator.native_amp = True
        accelerator.autocast_handler = AutocastKwargs(enabled=False)  # only the scale is under test
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return accelerator

    settings = {"max_grad_norm": 0.05, "max_steps": 3, "gradient_accumulation": 2}
    plain = fit(tmp_path / "plain", **settings)
    monkeypatch.setattr(session, "build_accelerator", with_scaler)
    scaled = fit(tmp_path / "scaled", **settings)
    assert plain.metrics["gradient_norm"] > 0.05
    assert scaled.metrics["gradient_norm"] == plain.metrics["gradient_norm"]
    assert scaled.metrics["skipped_steps"] == 0
    weights = [torch.load(tmp_path / name / "tiny.pt", weights_only=True)["state_dict"] for name in ("plain", "scaled")]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value), name


def test_a_validator_that_fails_costs_no_trained_step(tmp_path: Path) -> None:
    def fails(model: torch.nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        raise RuntimeError("no such file")

    with pytest.raises(RuntimeError, match="no such file"):
        fit(tmp_path, validator=fails, validate_every=3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step_*")) == ["step_00000002", "step_00000003"]
    assert fit(tmp_path).global_step == 4
