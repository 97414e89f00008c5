"""Generate a dub with the windows of the lip-sync pipeline, and measure the time of its stages."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.measurement import synchronize
from demo.synthetic.clip import FPS
from latentsync.audio.whisper_features import FeatureRows
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.windows import plan_windows

STAGES = ("VAE encode", "U-Net", "VAE decode", "rest")


@dataclass
class StageTimes:
    """Time of the stages of one or more dubs on one device.

    On a CPU it is processor time of all threads, which other processes hardly affect; else it is wall-clock time.

    Attributes:
        device: device of the networks.
        seconds: by stage, `rest` being everything outside the networks.
        num_evaluations: windows that the U-Net processed, counting both halves of a guided step.
        num_windows: windows of the dubs.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    num_evaluations: int = 0
    num_windows: int = 0

    def now(self) -> float:
        """Return the clock's time in seconds."""
        if self.device.type == "cpu":
            return time.process_time()
        synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def total(self) -> Iterator[None]:
        """Attribute the time inside the context that belongs to no stage to `rest`."""
        before, start = sum(self.seconds.values()), self.now()
        yield
        self.seconds["rest"] += self.now() - start - (sum(self.seconds.values()) - before)

    def timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """Return the function with its calls attributed to a stage."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            start = self.now()
            result = function(*args, **kwargs)
            self.seconds[stage] += self.now() - start
            return result

        return run

    def counted(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Return the U-Net's forward with its windows counted."""

        @wraps(forward)
        def run(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self.num_evaluations += len(sample)
            return forward(sample, *args, **kwargs)

        return run


def generate_dub(
    pipeline: LipsyncPipeline,
    crops: np.ndarray,
    features: FeatureRows,
    options: LipsyncOptions,
    times: StageTimes | None = None,
) -> np.ndarray:
    """Return the generated crops (f, R, R, 3) uint8. The only function here that knows the parts of the pipeline.

    Args:
        pipeline: its networks and its number of frames per window are used.
        crops: (f, R, R, 3) uint8 aligned crops.
        features: Whisper feature rows of the driving audio; their computation is not part of the time.
        options: of the job.
        times: receives the time of the stages.
    """
    codec, unet = pipeline.synthesizer.codec, pipeline.synthesizer.unet
    dub = CropDubber(pipeline.synthesizer, pipeline.num_frames, FPS, options)
    features.rows(0, features.num_rows)
    if times is None:
        return dub(crops, features)
    spans = plan_windows(len(crops), pipeline.num_frames, options.overlap_frames, options.exact)
    times.num_windows += sum(1 for _ in spans)
    with ExitStack() as stack:
        for owner, name, stage in (
            (codec, "encode", "VAE encode"),
            (unet, "prepare_audio", "U-Net"),
            (unet, "forward", "U-Net"),
            (codec, "decode", "VAE decode"),
        ):
            function = getattr(owner, name)
            if name == "forward":
                function = times.counted(function)
            stack.enter_context(patch.object(owner, name, times.timed(function, stage)))
        stack.enter_context(times.total())
        return dub(crops, features)
