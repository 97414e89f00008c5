"""Recognize out-of-memory errors of a device, retry in smaller batches, and raise errors that name the cause."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from latentsync.device import release_memory
from latentsync.errors import DeviceMemoryError

_MAX_MEMORY_SHARE = 0.8
"""Share of a card's free memory that `fitting_batch_size` uses."""

_PHRASES = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
"""Messages of mps, the CPU allocator, and cuBLAS and cuDNN, which raise a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error of torch means that a device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _PHRASES)


def run_in_batches(
    compute: Callable[[slice], Tensor], num_items: int, batch_size: int, device: torch.device, retry: bool = True
) -> tuple[Tensor, int]:
    """Compute items in batches; halve the batch size whenever the device runs out of memory, down to 1.

    Args:
        compute: function that returns the results of a slice of the items, one row per item.
        num_items: number of items, at least 1.
        batch_size: initial batch size.
        device: device whose cached memory is released before a retry.
        retry: if False, the first error is raised.

    Returns:
        All rows, and the final batch size.

    Raises:
        RuntimeError: torch's own error, if a single item does not fit.
    """
    parts: list[Tensor] = []
    start = 0
    while start < num_items:
        count = min(batch_size, num_items - start)
        part = _compute(compute, slice(start, start + count), retry and count > 1)
        if part is None:
            release_memory(device)
            batch_size = count // 2
        else:
            parts.append(part)
            start += count
    return torch.cat(parts), batch_size


def _compute(compute: Callable[[slice], Tensor], items: slice, may_fail: bool) -> Tensor | None:
    """Return the results, or None after an out-of-memory error, whose traceback would keep tensors alive."""
    try:
        return compute(items)
    except (RuntimeError, MemoryError) as error:
        if not (may_fail and is_out_of_memory(error)):
            raise
        return None


def fitting_batch_size(device: torch.device, largest: int) -> int:
    """Return how many items one batch may have, after a first batch of one item; 1 on devices other than CUDA cards.

    The memory that torch keeps beyond its live tensors is what the first batch needed at most.

    Args:
        device: device of the networks.
        largest: upper limit of the result.
    """
    if device.type != "cuda":
        return 1
    per_item = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(largest, int(_MAX_MEMORY_SHARE * (free + per_item) / max(1, per_item))))


@contextmanager
def naming_memory_errors(what: str, device: torch.device, remedy: str = "") -> Iterator[None]:
    """Turn out-of-memory errors into a `DeviceMemoryError` that names the part, the device and the remedy.

    Args:
        what: part of the program, such as "the U-Net".
        device: device that it runs on.
        remedy: setting to change; also appended to a `DeviceMemoryError` raised inside the block.

    Raises:
        DeviceMemoryError: instead of the original error.
    """
    ending = f": {remedy}" if remedy else ""
    try:
        yield
    except DeviceMemoryError as error:
        raise DeviceMemoryError(f"{error}{ending}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(f"{what} ran out of memory on {device}{ending}") from error
