"""What each part of a lip-sync takes: time, memory of all processes, and memory on the accelerator.

The stages of the pipeline work at the same time in threads of their own, so the times of all parts together may exceed
the time of the whole, and the memory of a part is what all processes took while it was at work.
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
        seconds: wall-clock time of all its calls together.
        num_calls: how often it was called.
        memory_gib: largest resident memory of this process and those it started while the part was at work.
        device_memory_gib: largest memory of tensors on the accelerator meanwhile; None on a CPU.
    """

    seconds: float = 0.0
    num_calls: int = 0
    memory_gib: float = 0.0
    device_memory_gib: float | None = None


class PartClock:
    """Collects `PartFigures` by part; a context manager that watches the memory while it is open."""

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
        """Counts what happens inside as the part's work.

        Args:
            name: of the part.
            on_device: whether networks run inside; the device is waited for then, and its peak memory counted anew.
                Such parts do not overlap.
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
        """The function, its calls counted as work of a part."""

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
    """Resident memory of this process and all it started, in bytes; pages that processes share count in each."""
    this = psutil.Process()
    total = this.memory_info().rss
    for child in this.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:  # ended meanwhile
            continue
    return total


@contextmanager
def parts_counted(pipeline: LipsyncPipeline, clock: PartClock) -> Iterator[None]:
    """While open, every part of a pipeline reports to the clock; its results stay the same."""
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
