"""Values out of range are reported in one line that names the key."""

from pathlib import Path

import pytest
import torch

from latentsync.config import load_config
from latentsync.device import resolve_mixed_precision
from latentsync.errors import ConfigError
from latentsync.training.launch import build_accelerator
from latentsync.training.trainer_config import TrainerConfig


def load(tmp_path: Path, *overrides: str) -> TrainerConfig:
    path = tmp_path / "trainer.yaml"
    path.write_text("optimizer: {name: muon}\nbest_metric: {name: sync, mode: max}\nema_decay: 0.999\n")
    return load_config(path, TrainerConfig, overrides)


def test_from_yaml(tmp_path: Path) -> None:
    config = load(tmp_path, "max_grad_norm=null", "optimizer.plain_names=[conv_in]")
    assert (config.optimizer.name, config.best_metric.mode, config.ema_decay) == ("muon", "max", 0.999)
    assert config.max_grad_norm is None
    assert config.optimizer.plain_names == ["conv_in"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_steps=0", "training.max_steps is at least 1"),
        ("max_minutes=0", "training.max_minutes is above 0 or null, not 0"),
        ("validate_minutes=.inf", "training.validate_minutes is above 0 or null"),
        ("save_every=-1", "training.save_every is at least 0"),
        ("mixed_precision=fp8", "training.mixed_precision is one of"),
        ("max_grad_norm=0", "training.max_grad_norm is above 0 or null"),
        ("ema_decay=1", "training.ema_decay lies in"),
        ("optimizer.name=sgd", "training.optimizer.name is one of"),
        ("optimizer.lr=0", "training.optimizer.lr is above 0"),
        ("optimizer.betas=[0.9]", "training.optimizer.betas are two numbers"),
        ("schedule.name=step", "training.schedule.name is one of"),
        ("schedule.floor=2", "training.schedule.floor lies in"),
        ("best_metric.mode=most", "training.best_metric.mode is min or max"),
        ("batchsize=2", "batchsize"),
    ],
)
def test_a_value_out_of_range(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, override)


def test_mixed_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for is_native, expected in ((True, "bf16"), (False, "no")):
        monkeypatch.setattr("latentsync.device.cpu_multiplies_bfloat16", lambda answer=is_native: answer)
        assert resolve_mixed_precision("auto", cpu) == expected
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert resolve_mixed_precision("auto", cpu) == "bf16"
    assert resolve_mixed_precision("no", cpu) == "no"
    with pytest.raises(ConfigError, match="does not train in fp16"):
        resolve_mixed_precision("fp16", cpu)


def test_two_runs_in_one_process_may_differ() -> None:
    for precision in ("no", "bf16", "no"):
        accelerator = build_accelerator(TrainerConfig(device="cpu", mixed_precision=precision))
        assert accelerator.mixed_precision == precision
        assert accelerator.device.type == "cpu"


@pytest.mark.parametrize("word", ["no", "off", "'no'"])
def test_mixed_precision_is_switched_off_by_a_bare_no_or_off(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"mixed_precision={word}").mixed_precision == "no"
