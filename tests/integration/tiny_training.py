"""A training of a few milliseconds for tests of the trainer, in this process or as a module in another one."""

import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from omegaconf import OmegaConf
from torch import nn

from latentsync.data.batching import ItemKey, collate, item_generator
from latentsync.training import session
from latentsync.training.launch import build_accelerator
from latentsync.training.trainer import Trainer, TrainReport
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import StepContext, StepResult

BASE = {
    "max_steps": 4,
    "batch_size": 4,
    "mixed_precision": "no",
    "device": "cpu",
    "num_workers": 0,
    "log_every": 1,
    "validate_every": 0,
    "save_every": 2,
    "num_threads": 1,
}


class TinyDataset:
    """Ten clips; an item is a function of its key."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        values = item_generator(5, key).standard_normal(6).astype("float32")
        return {"x": values, "clip": f"clip_{key.index}.mp4"}


class TinyStep:
    """Regression onto the sum of the inputs, with an optional failure.

    Args:
        dropout: draws from the generator of the process, so that a resume must restore it.
        mishap: "kill", "SIGTERM", "SIGINT", "nan" or "inf_gradient": the failure.
        at: steps done before it.
        rank: rank of the failing process.
    """

    export_name = "tiny.pt"

    def __init__(self, dropout: float = 0.0, mishap: str = "", at: int = 2, rank: int = 0) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))
        self.mishap, self.at, self.rank = mishap, at, rank

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        error = model(batch["x"]) - batch["x"].sum(1, keepdim=True)
        loss = error.square().mean()
        if context.global_step == self.at and int(os.environ.get("RANK", "0")) == self.rank:
            loss = self._go_wrong(loss)
        return StepResult(loss, {"absolute": error.abs().mean(), "fraction": context.fraction})

    def export(self, state_dict: Mapping[str, Any], path: Path, global_step: int, history: Mapping[str, Any]) -> None:
        content = {"state_dict": dict(state_dict), "global_step": global_step, "history": dict(history)}
        torch.save(content, path)

    def _go_wrong(self, loss: torch.Tensor) -> torch.Tensor:
        if self.mishap == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.mishap.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.mishap])
        elif self.mishap == "nan":
            return loss * torch.nan
        elif self.mishap == "inf_gradient":
            return loss + (loss - loss.detach()).sqrt()  # 0, and its derivative there is infinite
        return loss


def tiny_config(run_dir: Path | str, **settings: Any) -> TrainerConfig:
    """Return the base configuration with these settings."""
    merged = OmegaConf.merge(OmegaConf.structured(TrainerConfig), BASE, settings, {"run_dir": str(run_dir)})
    config = OmegaConf.to_object(merged)
    assert isinstance(config, TrainerConfig)
    return config


def fit(run_dir: Path | str, step: TinyStep | None = None, validator: Any = None, **settings: Any) -> TrainReport:
    """Train the tiny model."""
    return Trainer(tiny_config(run_dir, **settings), step or TinyStep(), TinyDataset(), collate, validator).fit()


def build_sharded_accelerator(config: TrainerConfig) -> Accelerator:
    """Build an accelerator for FSDP2 on CPUs; torch supports it, accelerate does not, so its state is set directly."""
    accelerator = build_accelerator(config)
    accelerator.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="FULL_STATE_DICT")
    return accelerator


def mean_output(model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
    """Validator: mean output of the model."""
    return {"output": float(model(torch.ones(2, 6)).mean())}


def main(argument: str) -> int:
    """Run trainings one after the other, given as JSON.

    [{"run_dir": ..., "step": {...}, "is_sharded": true, setting: value, ...}]
    """
    logging.basicConfig(level=logging.WARNING)
    code = 0
    for settings in json.loads(argument):
        step = TinyStep(**settings.pop("step", {}))
        session.build_accelerator = (
            build_sharded_accelerator if settings.pop("is_sharded", False) else build_accelerator
        )
        code = fit(step=step, validator=mean_output, **settings).exit_code
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
