"""Time and memory of calls, devices and processes, and Markdown tables of measured values."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil
import torch

from latentsync.device import peak_allocated_bytes, release_memory

GIB = 1024**3


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
    """Restart the measurement of `peak_memory_gib`; no effect on devices without memory statistics."""
    synchronize(device)  # also initializes the device, without which the statistics cannot be reset
    if peak_allocated_bytes(device) is not None:
        torch.get_device_module(device).reset_peak_memory_stats(device)


def peak_memory_gib(device: torch.device) -> float | None:
    """Return the peak memory of tensors on the device since `reset_peak_memory` in GiB; None without statistics.

    Memory that PyTorch's allocator reserves, and CUDA's context, are not included.
    """
    size = peak_allocated_bytes(device)
    return None if size is None else size / GIB


def resident_bytes(process: psutil.Process) -> int:
    """Return the resident memory of a process and its descendants; pages shared between them count in each."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += _resident(one)
    except psutil.NoSuchProcess:
        pass
    return total


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:  # ended since it was listed
        return 0


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock seconds of one call, including the device's work."""
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
    """Return the median wall-clock seconds of several calls after one warm-up call.

    Args:
        run: the measured function.
        device: device on which it runs.
        repeats: number of measured calls.
        at_most_s: no further call starts once the measured calls have taken this long.
        warm_up: called first instead of `run`; for long calls.
    """
    (warm_up or run)()
    times: list[float] = []
    while len(times) < repeats and sum(times) < at_most_s:
        times.append(seconds_of(run, device))
    return statistics.median(times)


def best_seconds(run: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """Return the shortest time of several calls after one warm-up call.

    Args:
        run: the measured function.
        repeats: number of measured calls.
        clock: by default the CPU time of all threads, which other work on the machine does not affect.
    """
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


def markdown_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table; a cell is empty if its row lacks the column's key."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    """Format a number with three significant digits; replace bars in text, which would end the cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return " ".join(str(value).split()).replace("|", "/")
