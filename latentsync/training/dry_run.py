"""What a training would be, told without doing any of it: configuration, sizes, memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from latentsync.device import resolve_device
from latentsync.training.launch import resolve_mixed_precision
from latentsync.training.memory_estimate import estimate_memory
from latentsync.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class ModelSize:
    """Numbers a network holds.

    Attributes:
        num_parameters: in all parameters.
        num_trainable: in those that train.
        num_state_values: in the state dict, which also has buffers.
        num_state_tensors: entries of the state dict.
    """

    num_parameters: int
    num_trainable: int
    num_state_values: int
    num_state_tensors: int


def model_size(model: nn.Module) -> ModelSize:
    """Counts a network's numbers; it may be on the "meta" device."""
    parameters, state = list(model.parameters()), model.state_dict()
    return ModelSize(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        num_state_values=sum(tensor.numel() for tensor in state.values()),
        num_state_tensors=len(state),
    )


def describe_run(
    resolved_config: Mapping[str, Any], build_model: Callable[[], nn.Module], config: TrainerConfig
) -> str:
    """The resolved configuration as YAML, then parameter counts and the memory estimate, as text for the terminal.

    Args:
        resolved_config: the whole configuration as plain data.
        build_model: makes the network and says what trains; called on the "meta" device, so sizes cost nothing.
        config: of the run.
    """
    with torch.device("meta"):
        model = build_model()
    size = model_size(model)
    precision = resolve_mixed_precision(config.mixed_precision, resolve_device(config.device))
    share = 100 * size.num_trainable / max(size.num_parameters, 1)
    lines = [
        OmegaConf.to_yaml(OmegaConf.create(dict(resolved_config))).rstrip(),
        "",
        f"parameters: {_millions(size.num_parameters)} in total, {_millions(size.num_trainable)} train ({share:.1f} %)",
        f"state dict: {_millions(size.num_state_values)} in {size.num_state_tensors} entries",
        f"mixed precision here: {precision}",
        f"memory per process: {estimate_memory(model, config, precision)}",
    ]
    return "\n".join(lines)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M ({count:,})"
