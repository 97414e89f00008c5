"""Running out of memory on a device: how it is recognised, retried in smaller batches, and named."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from latentsync.device import release_memory
from latentsync.errors import DeviceMemoryError

_PHRASES = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
"""How mps, the CPU's allocator, and cuBLAS and cuDNN put it, all as a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that a device, or this machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _PHRASES)


def run_in_batches(
    compute: Callable[[slice], Tensor], num_items: int, batch_size: int, device: torch.device, retry: bool = True
) -> tuple[Tensor, int]:
    """Computes items batch by batch; where the device runs out of memory, again with half as many at once, down to 1.

    Args:
        compute: gives the results of some of the items, one row each.
        num_items: how many there are, from 1.
        batch_size: how many at once at first.
        device: its cached memory is given back before a retry.
        retry: without it the first failure is raised.

    Returns:
        All rows, and the batch size at the end.

    Raises:
        RuntimeError: torch's own error, where not even one item fits.
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
    """The results, or None where memory ran out; by returning, the error lets go of the tensors of its frames."""
    try:
        return compute(items)
    except (RuntimeError, MemoryError) as error:
        if not (may_fail and is_out_of_memory(error)):
            raise
        return None


@contextmanager
def naming_memory_errors(what: str, device: torch.device, remedy: str = "") -> Iterator[None]:
    """Turns out-of-memory errors into one line: what ran out, on which device, and what to change.

    Args:
        what: the part, such as "the U-Net".
        device: where it runs.
        remedy: what to change; it is also added to an error that an inner part has named already.

    Raises:
        DeviceMemoryError: in place of the error.
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
