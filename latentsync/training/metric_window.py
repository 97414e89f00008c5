"""Means of metrics over the steps since the last row, and over all processes."""

from collections.abc import Mapping

import torch
from accelerate.utils import gather_object


class MetricWindow:
    """Sums metrics on the device, so that adding one does not wait for it."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, torch.Tensor | float]) -> None:
        """Takes one batch's scalars in."""
        for name, value in metrics.items():
            value = value.detach().float() if isinstance(value, torch.Tensor) else float(value)
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means since the last call, over all processes; every process calls this."""
        own = [{name: (float(total), self._counts[name]) for name, total in self._sums.items()}]
        self._sums, self._counts = {}, {}
        gathered: list[dict[str, tuple[float, int]]] = gather_object(own)
        names = dict.fromkeys(name for part in gathered for name in part)
        totals = {name: [part[name] for part in gathered if name in part] for name in names}
        return {name: sum(t for t, _ in parts) / sum(n for _, n in parts) for name, parts in totals.items()}
