"""Sets up accelerate: devices, processes, number formats."""

import logging
import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
)

from latentsync.device import resolve_device, training_dtype
from latentsync.errors import ConfigError
from latentsync.training.trainer_config import TrainerConfig

COLLECTIVE_TIMEOUT = timedelta(hours=3)  # the others wait while the main process validates
_PLAIN_LAUNCH = "LOCAL_RANK"  # set by torchrun and accelerate launch for every process


def build_accelerator(config: TrainerConfig) -> Accelerator:
    """One Accelerator for the run; under torchrun or `accelerate launch` their environment decides processes and kind.

    Raises:
        ConfigError: the device cannot do the mixed precision, or the optimizer not the launcher's sharding.
        InputError: the device is not there.
    """
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    _forget_former_run()
    device = resolve_device(config.device)
    if device.index is not None and _PLAIN_LAUNCH not in os.environ:
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


def resolve_mixed_precision(name: str, device: torch.device) -> str:
    """Turns "auto" into "bf16" or "no", as `latentsync.device.training_dtype`; a launcher's own choice goes first.

    Raises:
        ConfigError: fp16 on a CPU, which has no scaler for it.
    """
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("training.mixed_precision: a CPU does not train in fp16: use bf16, no or auto")
    if name != "auto":
        return name
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched != "no":
        return launched
    return "bf16" if training_dtype(device) is torch.bfloat16 else "no"


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether no process holds all weights (FSDP, DeepSpeed ZeRO 3)."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        plugin = accelerator.state.deepspeed_plugin
        return plugin is not None and plugin.zero_stage == 3
    return accelerator.distributed_type == DistributedType.FSDP


def _forget_former_run() -> None:
    """accelerate keeps its state for the process' life; a second run in one process may want another device."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        AcceleratorState._reset_state(reset_partial_state=True)


def _fill_deepspeed(settings: dict[str, Any], config: TrainerConfig) -> None:
    """DeepSpeed takes from its own configuration what it otherwise reads off a prepared loader."""
    settings["train_micro_batch_size_per_gpu"] = config.batch_size
    settings["gradient_accumulation_steps"] = config.gradient_accumulation
    settings["gradient_clipping"] = config.max_grad_norm or 0.0
