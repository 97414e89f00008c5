"""Measure time and memory on any device; time measurements wait until the device has finished its work."""

import gc
import statistics
import time
from collections.abc import Callable

import torch

from latentsync.device import peak_allocated_bytes, release_memory

_GIB = 1024**3


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all submitted work."""
    module = torch.get_device_module(device)
    module.synchronize() if device.index is None else module.synchronize(device)


def free_unused_memory(device: torch.device) -> None:
    """Release unused memory of an accelerator; no effect on a CPU."""
    if device.type != "cpu":
        gc.collect()
        release_memory(device)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of `peak_memory_gib`; no effect on devices without this statistic."""
    synchronize(device)  # initializes the device too; the statistic cannot be reset before
    if peak_allocated_bytes(device) is not None:
        torch.get_device_module(device).reset_peak_memory_stats(device)


def peak_memory_gib(device: torch.device) -> float | None:
    """Return the peak memory of tensors on the device since `reset_peak_memory` in GiB; None if there is no statistic.

    The reserve of PyTorch's allocator and the CUDA context are not included.
    """
    size = peak_allocated_bytes(device)
    return None if size is None else size / _GIB


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock seconds of one call, including the work of the device."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def median_seconds(
    run: Callable[[], object],
    device: torch.device,
    repeats: int = 5,
    at_most_s: float = 20.0,
    warm_up: Callable[[], object] | None = None,
) -> float:
    """Return the median wall-clock seconds of several calls after a warm-up.

    Args:
        run: function to measure.
        device: device that it uses.
        repeats: number of measured calls.
        at_most_s: no further call starts when the measured calls have taken this long.
        warm_up: function for the warm-up instead of `run`, if calls are long.
    """
    (warm_up or run)()
    times: list[float] = []
    while len(times) < repeats and sum(times) < at_most_s:
        times.append(seconds_of(run, device))
    return statistics.median(times)
