"""Description of a training without running it: configuration, parameter counts, memory estimate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from latentsync.device import resolve_device, resolve_mixed_precision
from latentsync.training.optimizers import build_optimizer
from latentsync.training.trainer_config import TrainerConfig

_GIB = 1024**3
_FLOAT32_BYTES = 4
_HALF_BYTES = 2


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a network.

    Attributes:
        num_parameters: scalars in all parameters.
        num_trainable: scalars in trainable parameters.
        num_state_values: scalars in the state dict, which also has buffers.
        num_state_tensors: entries of the state dict.
    """

    num_parameters: int
    num_trainable: int
    num_state_values: int
    num_state_tensors: int


def model_size(model: nn.Module) -> ModelSize:
    """Count parameters and state values of a network, which may be on the meta device."""
    parameters, state = list(model.parameters()), model.state_dict()
    return ModelSize(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        num_state_values=sum(tensor.numel() for tensor in state.values()),
        num_state_tensors=len(state),
    )


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per process if every process holds the whole model (one process, or DDP).

    Attributes:
        weights: all weights of the trained network, frozen ones included.
        gradients: gradients of the trainable weights.
        optimizer: optimizer state: two values per weight for AdamW, one for Muon.
        average: moving average of the weights, if configured.
        casts: half-precision copies of the trainable matrices that autocast keeps during a step.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    casts: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return self.weights + self.gradients + self.optimizer + self.average + self.casts

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / _GIB:.2f}" for name, size in vars(self).items() if size)
        return f"{self.total / _GIB:.2f} GiB ({parts}), activations and frozen networks not counted"


def estimate_memory(model: nn.Module, config: TrainerConfig, mixed_precision: str) -> MemoryEstimate:
    """Estimate the memory that training a model needs besides its activations.

    Args:
        model: the network on any device, meta included, with `requires_grad` set as for the training.
        config: of the run.
        mixed_precision: "no", "bf16" or "fp16".
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    num_trainable = sum(parameter.numel() for parameter in trainable)
    num_matrix = sum(parameter.numel() for parameter in trainable if parameter.ndim >= 2)
    optimizer = 0
    if trainable:
        for group in build_optimizer(model, config.optimizer).param_groups:
            values_per_weight = 1 if group.get("use_muon") else 2
            optimizer += values_per_weight * _FLOAT32_BYTES * sum(parameter.numel() for parameter in group["params"])
    return MemoryEstimate(
        weights=sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()),
        gradients=_FLOAT32_BYTES * num_trainable,
        optimizer=optimizer,
        average=_FLOAT32_BYTES * num_trainable if config.ema_decay is not None else 0,
        casts=_HALF_BYTES * num_matrix if mixed_precision != "no" else 0,
    )


def describe_run(resolved_config: Mapping[str, Any], model: nn.Module, config: TrainerConfig) -> str:
    """Return the configuration as YAML, the parameter counts and the memory estimate, for the terminal.

    Args:
        resolved_config: the whole configuration as plain data.
        model: the network, usually on the meta device, with `requires_grad` set as for the training.
        config: of the run.
    """
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
