"""Processes of a training: accelerate's setup, and decisions that the main process makes for all."""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    broadcast_object_list,
)

from latentsync.device import resolve_device, resolve_mixed_precision
from latentsync.errors import ConfigError, InputError, LatentSyncError
from latentsync.training.trainer_config import TrainerConfig

COLLECTIVE_TIMEOUT = timedelta(hours=3)
"""Limit for one collective call; the other processes wait in one while the main process validates."""
_LAUNCHER_MARK = "LOCAL_RANK"
"""Variable that torchrun and accelerate launch set in every process."""

T = TypeVar("T")


def build_accelerator(config: TrainerConfig) -> Accelerator:
    """Build the Accelerator; the environment of torchrun or `accelerate launch` decides processes and sharding.

    Raises:
        ConfigError: the device does not support the mixed precision, or the optimizer not the launcher's sharding.
        InputError: the device is missing.
    """
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    _reset_accelerate()
    device = resolve_device(config.device)
    if device.index is not None and _LAUNCHER_MARK not in os.environ:
        torch.get_device_module(device).set_device(device)
    precision = resolve_mixed_precision(config.mixed_precision, device)
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.gradient_accumulation, sync_with_dataloader=False
        ),
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=COLLECTIVE_TIMEOUT),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
        ],
    )
    if (plugin := accelerator.state.deepspeed_plugin) is not None:
        _fill_deepspeed(plugin.deepspeed_config, config)
    if is_sharded(accelerator) and config.optimizer.name == "muon":
        raise ConfigError("training.optimizer.name: Muon needs whole matrices: use adamw, or launch without sharding")
    return accelerator


def is_sharded(accelerator: Accelerator) -> bool:
    """Return True if no process holds all weights (FSDP, DeepSpeed ZeRO 3)."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        plugin = accelerator.state.deepspeed_plugin
        return plugin is not None and plugin.zero_stage == 3
    return accelerator.distributed_type == DistributedType.FSDP


def is_main_process() -> bool:
    """Return True in the process that writes and decides, which is the only one without a launcher."""
    return int(os.environ.get("RANK", "0")) == 0


def decided_by_main(decide: Callable[[], T], config: TrainerConfig) -> T:
    """Return the main process's decision in all processes; every process calls this.

    Args:
        decide: called in the main process alone.
        config: of the run; its device decides how the processes are connected.

    Raises:
        LatentSyncError: the one that `decide` raised, in every process, so that no process waits for the others.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return decide()
    PartialState(cpu=resolve_device(config.device).type == "cpu", timeout=COLLECTIVE_TIMEOUT)
    answer: Any = None
    if is_main_process():
        try:
            answer = decide()
        except LatentSyncError as error:
            answer = error
        except OSError as error:
            answer = InputError(str(error))
    answer = broadcast_object_list([answer])[0]
    if isinstance(answer, LatentSyncError):
        raise answer
    return answer


def _reset_accelerate() -> None:
    """Drop accelerate's global state: a second run in one process may use another device."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        AcceleratorState._reset_state(reset_partial_state=True)


def _fill_deepspeed(settings: dict[str, Any], config: TrainerConfig) -> None:
    """Set what DeepSpeed otherwise reads off a prepared data loader, which this trainer does not have."""
    settings["train_micro_batch_size_per_gpu"] = config.batch_size
    settings["gradient_accumulation_steps"] = config.gradient_accumulation
    settings["gradient_clipping"] = config.max_grad_norm or 0.0
