"""Puts items together into a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack the items' values by name: arrays and tensors (b, ...), ints to a LongTensor (b,), strings to a list."""
    return {name: _stacked([item[name] for item in items]) for name in items[0]}


def _stacked(values: list[Any]) -> torch.Tensor | list[str]:
    first = values[0]
    if isinstance(first, str):
        return values
    if isinstance(first, torch.Tensor):
        return torch.stack(values)
    if isinstance(first, np.ndarray):
        return torch.from_numpy(np.stack(values))
    if isinstance(first, int):
        return torch.tensor(values, dtype=torch.int64)
    raise TypeError(f"cannot put {type(first).__name__} values into a batch")
