"""Measure each part of lip-sync: time, memory of all processes, and memory on the accelerator.

The stages of the pipeline run in parallel threads. The sum of their times may therefore exceed the total time, and the
memory of a part is that of all processes while the part runs.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest.mock import patch

import psutil
import torch

from benchmarks.device_measurement import peak_memory_gib, reset_peak_memory, synchronize
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.face.paste import FacePaster
from latentsync.media.writer import VideoWriter
from latentsync.pipelines import lipsync_pipeline
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline

_LOOK_EVERY_S = 0.2
_GIB = 1024**3


@dataclass
class PartFigures:
    """Figures of one part.

    Attributes:
        seconds: wall-clock time of all calls together.
        num_calls: number of calls.
        memory_gib: peak resident memory of this process and its subprocesses while the part runs.
        device_memory_gib: peak memory of tensors on the accelerator while the part runs; None on a CPU.
    """

    seconds: float = 0.0
    num_calls: int = 0
    memory_gib: float = 0.0
    device_memory_gib: float | None = None


class PartClock:
    """Collects `PartFigures` by part; a context manager that samples the memory while it is open."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.figures: dict[str, PartFigures] = {}
        self._active: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PartClock":
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._watcher.join()

    @contextmanager
    def part(self, name: str, on_device: bool = False) -> Iterator[None]:
        """Measure the block as a part.

        Args:
            name: name of the part.
            on_device: True if networks run inside; the measurement then waits for the device and resets its peak
                memory. Such parts do not overlap.
        """
        with self._lock:
            figures = self.figures.setdefault(name, PartFigures())
            self._active[name] += 1
        if on_device:
            synchronize(self.device)
            reset_peak_memory(self.device)
        start = time.perf_counter()
        try:
            yield
            if on_device:
                synchronize(self.device)
        finally:
            figures.seconds += time.perf_counter() - start
            figures.num_calls += 1
            self._look()
            with self._lock:
                self._active[name] -= 1
            peak = peak_memory_gib(self.device) if on_device else None
            if peak is not None:
                figures.device_memory_gib = max(peak, figures.device_memory_gib or 0.0)

    def timed(self, function: Callable[..., Any], name: str, on_device: bool = False) -> Callable[..., Any]:
        """Return the function with its calls measured as a part."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name, on_device):
                return function(*args, **kwargs)

        return run

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            self._look()

    def _look(self) -> None:
        memory = resident_memory() / _GIB
        with self._lock:
            for name, count in self._active.items():
                if count:
                    self.figures[name].memory_gib = max(self.figures[name].memory_gib, memory)


def resident_memory() -> int:
    """Return the resident memory of this process and its subprocesses in bytes; shared pages count in each."""
    this = psutil.Process()
    total = this.memory_info().rss
    for child in this.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:  # it has ended
            continue
    return total


@contextmanager
def parts_counted(pipeline: LipsyncPipeline, clock: PartClock) -> Iterator[None]:
    """Measure every part of a pipeline while the block is open; the results of the pipeline do not change."""
    codec, unet = pipeline.synthesizer.codec, pipeline.synthesizer.unet
    places: list[tuple[Any, str, str, bool]] = [
        (pipeline.detector, "detect", "faces", False),
        (WhisperFeatures, "rows", "audio", True),
        (lipsync_pipeline, "crop_faces", "align", False),
        (codec, "encode", "VAE encode", True),
        (unet, "forward", "U-Net", True),
        (codec, "decode", "VAE decode", True),
        (FacePaster, "paste", "paste", False),
        (VideoWriter, "write", "write", False),
        (VideoWriter, "__exit__", "write", False),
    ]
    with ExitStack() as stack:
        for owner, attribute, name, on_device in places:
            timed = clock.timed(getattr(owner, attribute), name, on_device)
            stack.enter_context(patch.object(owner, attribute, timed))
        yield
