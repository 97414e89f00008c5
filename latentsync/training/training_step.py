"""What the trainer and a model agree on: the step that makes a loss of a batch, and the validator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn


@dataclass(frozen=True)
class StepContext:
    """Where the training stands.

    Attributes:
        global_step: optimizer steps done before this one.
        max_steps: optimizer steps of the whole training.
    """

    global_step: int
    max_steps: int

    @property
    def fraction(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return self.global_step / self.max_steps


@dataclass
class StepResult:
    """What a step returns.

    Attributes:
        loss: scalar mean over the items of the batch, with a gradient.
        metrics: scalars to be averaged and logged beside "loss"; gradients are dropped.
    """

    loss: torch.Tensor
    metrics: dict[str, torch.Tensor | float] = field(default_factory=dict)


class TrainingStep(Protocol):
    """Makes a loss of a batch; knows the model's published file format.

    Attributes:
        export_name: name of the exported file, such as "latentsync_unet.pt", or folder, such as "vae".
    """

    export_name: str

    @property
    def model(self) -> nn.Module:
        """The network to train, unwrapped; `requires_grad` says which of its parameters do."""
        ...

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of one batch, which lies on the device.

        Args:
            model: the network to call, wrapped for several processes and mixed precision. Only its forward may be used.
            batch: what the collate function made; "clip" lists the files.
            context: where the training stands.
        """
        ...

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Writes weights in the published format.

        Args:
            state_dict: all weights, averaged ones where there are.
            path: file or folder to write; nothing is there yet.
            global_step: optimizer steps done.
            history: "<split>_step" and "<split>_<metric>" lists of all logged rows, as in `MetricsLog.history`.
        """
        ...


class Validator(Protocol):
    """Judges the current weights; runs on the main process alone, without gradients, the model in eval mode."""

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Figures by name.

        Args:
            model: the unwrapped network with averaged weights where there are, on the training device.
            folder: where pictures and videos of this validation may go; made on first use by the validator.
            global_step: optimizer steps done.
        """
        ...
