"""Time and memory on any device: every measurement of time waits until the device has finished."""

import gc
import statistics
import time
from collections.abc import Callable

import torch

from latentsync.device import peak_allocated_bytes, release_memory

_GIB = 1024**3


def synchronize(device: torch.device) -> None:
    """Waits until all work that was handed to the device is done."""
    module = torch.get_device_module(device)
    module.synchronize() if device.index is None else module.synchronize(device)


def free_unused_memory(device: torch.device) -> None:
    """Gives memory that nothing uses back to an accelerator; no effect on a CPU."""
    if device.type != "cpu":
        gc.collect()
        release_memory(device)


def reset_peak_memory(device: torch.device) -> None:
    """Starts counting anew for `peak_memory_gib`; no effect where nothing is counted."""
    synchronize(device)  # also begins the use of the device, without which nothing can be reset
    if peak_allocated_bytes(device) is not None:
        torch.get_device_module(device).reset_peak_memory_stats(device)


def peak_memory_gib(device: torch.device) -> float | None:
    """Largest memory that tensors took on the device since `reset_peak_memory`, in GiB; None where it is not counted.

    What PyTorch's allocator holds in reserve, and CUDA's own context, come on top.
    """
    size = peak_allocated_bytes(device)
    return None if size is None else size / _GIB


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call, the device's work included."""
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
    """Median wall-clock seconds of some calls, after one that does not count.

    Args:
        run: what is measured.
        device: where it runs.
        repeats: calls that count.
        at_most_s: no further call is begun when those that count have taken this long.
        warm_up: called first, instead of a call of `run`; for long calls.
    """
    (warm_up or run)()
    times: list[float] = []
    while len(times) < repeats and sum(times) < at_most_s:
        times.append(seconds_of(run, device))
    return statistics.median(times)
