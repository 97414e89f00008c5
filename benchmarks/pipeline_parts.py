"""Measure each part of the lip-sync pipeline: time, memory of all processes, and memory on the accelerator.

The stages of the pipeline run concurrently in threads. So the sum of the wall-clock times may exceed the total time,
and the memory of a part is that of all processes while the part was running. Processor time is that of the thread that
runs the part, so PyTorch must use one thread, and of the ffmpeg processes that end inside it.
"""

import resource
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

from benchmarks.measurement import GIB, peak_memory_gib, reset_peak_memory, resident_bytes, synchronize
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.face.paste import FacePaster
from latentsync.media import reader
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines import person_stages, synthesis
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline

_SAMPLING_INTERVAL_S = 0.2


@dataclass
class PartUsage:
    """Time and memory of one part.

    Attributes:
        seconds: total wall-clock time of all calls.
        processor_seconds: total processor time of the calling threads.
        child_seconds: processor time of processes that ended inside the calls, if counted.
        num_calls: number of calls.
        memory_gib: peak resident memory of this process and its descendants while the part was running.
        device_memory_gib: peak memory of tensors on the accelerator meanwhile; None on a CPU.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    child_seconds: float = 0.0
    num_calls: int = 0
    memory_gib: float = 0.0
    device_memory_gib: float | None = None


class PartClock:
    """Collects `PartUsage` by part; a context manager that samples the memory while it is open.

    Args:
        device: device of the networks.
        samples_memory: False leaves the memory out, whose sampling takes processor time.
    """

    def __init__(self, device: torch.device, samples_memory: bool = True) -> None:
        self.device = device
        self._samples_memory = samples_memory
        self.usage: dict[str, PartUsage] = {}
        self._active: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PartClock":
        if self._samples_memory:
            self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._samples_memory:
            self._watcher.join()

    @contextmanager
    def part(self, name: str, on_device: bool = False, count_children: bool = False) -> Iterator[None]:
        """Attribute time and memory inside the context to a part.

        Args:
            name: name of the part.
            on_device: True if networks run inside; then the device is synchronized and its peak memory reset. Such
                parts do not overlap.
            count_children: True if processes end inside, whose processor time is that of the part.
        """
        with self._lock:
            usage = self.usage.setdefault(name, PartUsage())
            self._active[name] += 1
        if on_device:
            synchronize(self.device)
            reset_peak_memory(self.device)
        children = child_processor_seconds()
        start, processor_start = time.perf_counter(), time.thread_time()
        try:
            yield
            if on_device:
                synchronize(self.device)
        finally:
            usage.seconds += time.perf_counter() - start
            usage.processor_seconds += time.thread_time() - processor_start
            if count_children:
                usage.child_seconds += child_processor_seconds() - children
            usage.num_calls += 1
            if self._samples_memory:
                self._sample()
            with self._lock:
                self._active[name] -= 1
            peak = peak_memory_gib(self.device) if on_device else None
            if peak is not None:
                usage.device_memory_gib = max(peak, usage.device_memory_gib or 0.0)

    def timed(
        self, function: Callable[..., Any], name: str, on_device: bool = False, count_children: bool = False
    ) -> Callable[..., Any]:
        """Return the function with its calls attributed to a part."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name, on_device, count_children):
                return function(*args, **kwargs)

        return run

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLING_INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        memory = resident_bytes(psutil.Process()) / GIB
        with self._lock:
            for name, count in self._active.items():
                if count:
                    self.usage[name].memory_gib = max(self.usage[name].memory_gib, memory)


def child_processor_seconds() -> float:
    """Return the processor time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def parts_counted(pipeline: LipsyncPipeline, clock: PartClock) -> Iterator[None]:
    """Attribute the calls of every part of a pipeline to the clock while open; its results are unchanged."""
    codec, unet = pipeline.synthesizer.codec, pipeline.synthesizer.unet
    places: list[tuple[Any, str, str, bool, bool]] = [
        (pipeline, "find_people", "faces", False, False),
        (reader, "read_frame", "read", False, False),
        (VideoReader, "_finish", "read", False, True),
        (VideoReader, "close", "read", False, True),
        (WhisperFeatures, "rows", "audio", True, False),
        (person_stages, "crop_faces", "align", False, False),
        (codec, "encode", "VAE encode", True, False),
        (unet, "forward", "U-Net", True, False),
        (codec, "decode", "VAE decode", True, False),
        (synthesis, "match_colour", "colour match", False, False),
        (FacePaster, "paste", "paste", False, False),
        (VideoWriter, "write", "write", False, False),
        (VideoWriter, "__exit__", "write", False, True),
    ]
    with ExitStack() as stack:
        for owner, attribute, name, on_device, count_children in places:
            timed = clock.timed(getattr(owner, attribute), name, on_device, count_children)
            stack.enter_context(patch.object(owner, attribute, timed))
        yield
