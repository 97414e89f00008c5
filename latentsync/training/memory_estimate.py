"""How much memory a training needs besides its activations."""

from dataclasses import dataclass

from torch import nn

from latentsync.training.optimizers import build_optimizer
from latentsync.training.trainer_config import TrainerConfig

_GIB = 1024**3
_FLOAT32_BYTES = 4
_HALF_BYTES = 2


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per process when every process holds everything (one process, or DDP).

    Attributes:
        weights: of the trained network, frozen parts included.
        gradients: of the weights that train.
        optimizer: AdamW keeps two numbers a weight, Muon one.
        average: the moving average, where the configuration has one.
        casts: half-precision copies that autocast keeps of the matrices that train, during a step.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    casts: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.average + self.casts

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / _GIB:.2f}" for name, size in vars(self).items() if size)
        return f"{self.total / _GIB:.2f} GiB ({parts}), activations and frozen judges not counted"


def estimate_memory(model: nn.Module, config: TrainerConfig, mixed_precision: str) -> MemoryEstimate:
    """Adds up what a training of `model` (on any device, "meta" included) keeps.

    Args:
        model: with `requires_grad` set as for the training.
        config: of the run.
        mixed_precision: "no", "bf16" or "fp16".
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    num_trainable = sum(parameter.numel() for parameter in trainable)
    num_matrix = sum(parameter.numel() for parameter in trainable if parameter.ndim >= 2)
    optimizer = 0
    if trainable:
        for group in build_optimizer(model, config.optimizer).param_groups:
            numbers = 1 if group.get("use_muon") else 2
            optimizer += numbers * _FLOAT32_BYTES * sum(parameter.numel() for parameter in group["params"])
    return MemoryEstimate(
        weights=sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()),
        gradients=_FLOAT32_BYTES * num_trainable,
        optimizer=optimizer,
        average=_FLOAT32_BYTES * num_trainable if config.ema_decay is not None else 0,
        casts=_HALF_BYTES * num_matrix if mixed_precision != "no" else 0,
    )
