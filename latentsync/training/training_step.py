"""Interfaces between the trainer and a model: the training step and the validator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn


@dataclass(frozen=True)
class StepContext:
    """Position in the training.

    Attributes:
        global_step: optimizer steps done before this one.
        max_steps: optimizer steps of the whole training.
        used_time: used share of a limited time, in [0, 1].
    """

    global_step: int
    max_steps: int
    used_time: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return max(self.global_step / self.max_steps, self.used_time)


@dataclass
class StepResult:
    """Result of a training step.

    Attributes:
        loss: scalar mean over the items of the batch, with gradient.
        metrics: scalars to average and log beside "loss"; their gradients are dropped.
    """

    loss: torch.Tensor
    metrics: dict[str, torch.Tensor | float] = field(default_factory=dict)


class TrainingStep(Protocol):
    """Interface of a training step: computes the loss of a batch and exports the weights.

    Attributes:
        export_name: name of the exported file, such as "latentsync_unet.pt", or folder, such as "vae".
    """

    export_name: str

    @property
    def model(self) -> nn.Module:
        """The network to train, unwrapped; `requires_grad` marks its trainable parameters."""
        ...

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Return the loss of one batch on the training device.

        Args:
            model: the network, wrapped for several processes and mixed precision. Only its forward may be used.
            batch: result of the collate function; "clip" lists the files.
            context: position in the training.
        """
        ...

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write weights in the published format.

        Args:
            state_dict: all weights, averaged ones if configured.
            path: file or folder to write; it does not exist yet.
            global_step: optimizer steps done.
            history: lists "<split>_step" and "<split>_<metric>" of all logged rows (`metrics.history`).
        """
        ...


class Validator(Protocol):
    """Interface of a validator: called in the main process alone, without gradients, with the model in eval mode."""

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return metrics by name.

        Args:
            model: the unwrapped network on the training device, with averaged weights if configured.
            folder: for images and videos of this validation; the validator creates it.
            global_step: optimizer steps done.
        """
        ...
