"""The moving average of the weights that train."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor


class WeightAverage:
    """Exponential moving average; early on it is shorter, so that the start is forgotten.

    The decay is min(decay, (1 + n) / (10 + n)) after n updates, as in diffusers' EMAModel. That class is not used:
    importing it takes seconds, and it knows nothing of sharding. Under FSDP every process averages its own part.

    Args:
        model: the prepared network; its parameters that train are averaged, in their own format.
        decay: share of the average that stays at each step, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._averages = [part.clone() for part in self._own_parts()]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the current weights in."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.num_updates else 0.0
        self.num_updates += 1
        torch._foreach_lerp_(self._averages, self._own_parts(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averaged weights while inside."""
        kept = [part.clone() for part in self._own_parts()]
        self._write(self._averages)
        try:
            yield
        finally:
            self._write(kept)

    def state_dict(self) -> dict[str, Any]:
        """This process' part, as plain data."""
        return {"num_updates": self.num_updates, "averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts back what `state_dict` gave; the decay stays that of the configuration.

        Raises:
            ValueError: it belongs to another set of weights.
        """
        self.num_updates = state["num_updates"]
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.copy_(value)

    def _write(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._own_parts(), values)

    def _own_parts(self) -> list[torch.Tensor]:
        """What this process holds of each parameter: all of it, or its part of a tensor that FSDP2 distributes."""
        parts = [parameter.detach() for parameter in self._parameters]
        return [part.to_local() if isinstance(part, DTensor) else part for part in parts]
