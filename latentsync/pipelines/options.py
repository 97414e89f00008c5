"""Options of one lip-sync job, and the options that lower its memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentsync.errors import ConfigError
from latentsync.face.tracker import parse_selector
from latentsync.models.batch_size import BATCH_SIZE
from latentsync.pipelines.voices import MANY_TRACKS

if TYPE_CHECKING:
    import torch

SCHEDULERS = ("ddim", "dpmsolver++", "unipc")
TIMESTEP_SPACINGS = ("leading", "trailing")
VIDEO_FPS = ("25", "source")
SYNC_MODES = ("bounce", "loop", "cut", "freeze", "silence")
SILENCE = ("off", "keep", "close")
MAX_YAW = (10.0, 90.0)
"""Range of the limit of the head's yaw in degrees."""
PUBLISHED = {
    "overlap_frames": 0,
    "scheduler": "ddim",
    "timestep_spacing": "leading",
    "guidance_interval": (0.0, 1.0),
    "video_fps": "25",
    "sync_mode": "bounce",
    "silence": "off",
}
"""Options for which the published system has a single value; `exact` requires it."""

MAX_BATCH_WINDOWS = 64
MAX_AUTO_WINDOWS = 8
"""Limit of windows per forward pass that are chosen by free memory: their video frames wait in the machine's memory."""

_SMALL_RESOLUTION = 256
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class LipsyncOptions:
    """Options of one lip-sync job. All values are validated on construction.

    Attributes:
        num_inference_steps: number of denoising steps, 1 to 1000.
        guidance_scale: classifier-free guidance on the audio, 1 to 20; 1 disables the unconditional half.
        seed: seed of the initial noise. Equal seeds and inputs give equal results.
        scheduler: one of `SCHEDULERS`.
        timestep_spacing: ``leading`` (published) or ``trailing``, which starts at the last timestep, 999, and needs
            fewer steps.
        guidance_interval: (low, high) within [0, 1]: timesteps t with low <= t / 1000 <= high are guided, the others
            take half of the U-Net's time. Guidance is always used with (0, 1).
        deepcache_interval: run the deep layers of the U-Net at every n-th step only (DeepCache); 1 disables it.
        overlap_frames: number of frames that neighbouring windows share and blend, 0 to 12.
        batch_windows: windows per forward pass, 1 to 64; affects speed, memory and rounding. None: as many as fit into
            the free memory of a CUDA card, at most `MAX_AUTO_WINDOWS`, and 1 on other devices.
        vae_batch_size: images per VAE forward pass; affects speed and memory, not the result.
        concurrent_stages: encode, denoise and decode different windows at the same time, each in a thread and, on a
            CUDA card, in a stream of its own, which needs more memory; does not affect the result.
        video_fps: frame rate of the result, ``25`` or ``source``.
        sync_mode: length of the result where video and speech differ. ``bounce``, ``loop`` and ``freeze``: that of the
            speech; a video that ends before is played backwards and forwards, starts again, or its last frame is held.
            ``cut``: the shorter of both. ``silence``: the longer of both; beyond the speech there is silence and a
            closed mouth, and a video that ends before is played backwards and forwards.
        silence: what moves the mouth where the audio contains no speech, as found by Silero VAD: ``off``, any sound;
            ``keep``, nothing, as in digital silence, and neither does the source's mouth (`held_reference`); ``close``,
            in addition the mouth is closed.
        crf: x264 constant rate factor, 0 (lossless) to 51.
        face: face to follow: ``largest``, ``only``, ``left``, ``right``, an index from the left, ``x,y`` in pixels,
            ``person1``, ...: a person by number, ``all``: every face says the same, or ``speaker``: who speaks in the
            source. Ignored where `voices.Voices` name people.
        compare: also write a video with source and result side by side.
        timeline: also write an image of what was done with each person when.
        max_yaw: limit of the head's yaw in degrees, 10 to 90, beyond which a face fades to the source; None: no limit.
        occluder: masks of things in front of the faces: a video, a folder of images, or ``auto`` (`face.xseg`), or
            None.
        exact: reproduce the published system wherever the default differs (listed in docs/inference.md). Requires
            the values in `PUBLISHED`.

    Raises:
        ConfigError: a value is not a number, out of range, or contradicts `exact`.
        InputError: `face` is not a valid selector.
    """

    # Relative CPU times are from the bundled demo (`python -m benchmarks.inference_options`).
    num_inference_steps: int = 20
    guidance_scale: float = 1.5  # 1 takes 0.77 of the CPU time, with weaker lip motion
    seed: int = 1247
    scheduler: str = "ddim"
    timestep_spacing: str = "leading"
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    deepcache_interval: int = 1  # 3 takes 0.65 of the CPU time
    overlap_frames: int = 4  # 0 takes 0.81 of the CPU time, 8 takes 1.38
    batch_windows: int | None = 1
    vae_batch_size: int = BATCH_SIZE
    concurrent_stages: bool = False
    video_fps: str = "25"
    sync_mode: str = "bounce"
    silence: str = "off"
    crf: int = 18
    face: str = "largest"
    compare: bool = False
    timeline: bool = False
    max_yaw: float | None = None
    occluder: str | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        _check_range("inference_steps", self.num_inference_steps, 1, 1000)
        _check_range("guidance_scale", self.guidance_scale, 1.0, 20.0)
        object.__setattr__(self, "guidance_interval", tuple(self.guidance_interval))  # records have a list
        _check_interval("guidance_interval", self.guidance_interval)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("deepcache_interval", self.deepcache_interval, 1, 1000)
        _check_range("overlap_frames", self.overlap_frames, 0, 12)
        if self.batch_windows is not None:
            _check_range("batch_size", self.batch_windows, 1, MAX_BATCH_WINDOWS)
        _check_range("vae_batch_size", self.vae_batch_size, 1, 1024)
        _check_range("crf", self.crf, 0, 51)
        if self.face not in MANY_TRACKS:
            parse_selector(self.face)
        _check_choice("scheduler", self.scheduler, SCHEDULERS)
        _check_choice("timestep_spacing", self.timestep_spacing, TIMESTEP_SPACINGS)
        _check_choice("video_fps", self.video_fps, VIDEO_FPS)
        _check_choice("sync_mode", self.sync_mode, SYNC_MODES)
        _check_choice("silence", self.silence, SILENCE)
        if self.exact and self.face in MANY_TRACKS:
            raise ConfigError(f"face is {self.face}, which contradicts exact: choose one face, or omit exact")
        if self.max_yaw is not None:
            _check_range("max_yaw", self.max_yaw, *MAX_YAW)
        if self.exact and (self.max_yaw, self.occluder) != (None, None):
            name = "max_yaw" if self.occluder is None else "occluder"
            raise ConfigError(f"{name} contradicts exact: omit one of them")
        if self.exact:
            for name, published in PUBLISHED.items():
                _check_published(name, getattr(self, name), published)

    def describe_sampling(self) -> str:
        """Return steps, spacing, guidance and a sampler other than ddim as a part of a line."""
        guidance = f"guidance {self.guidance_scale:g}"
        if self.guidance_interval != PUBLISHED["guidance_interval"]:
            guidance += " in {:g} to {:g}".format(*self.guidance_interval)
        steps = f"{self.num_inference_steps} step{'s' if self.num_inference_steps > 1 else ''}"
        scheduler = [] if self.scheduler == PUBLISHED["scheduler"] else [self.scheduler]
        return ", ".join([steps, *scheduler, self.timestep_spacing, guidance])


def memory_remedy(
    device: torch.device, dtype: torch.dtype, resolution: int, options: LipsyncOptions | None = None
) -> str:
    """Return the end of an out-of-memory message: the options that lower the memory, the cheapest first.

    Args:
        device, dtype: device and dtype of the networks.
        resolution: side of the crops in pixels.
        options: options of the job; None while the networks are being loaded.
    """
    changes = []
    if options is not None and options.batch_windows != 1:
        changes.append("--batch_size 1")
    if options is not None and options.vae_batch_size > 1:
        changes.append("--vae_batch_size 1")
    if options is not None and options.concurrent_stages:
        changes.append("leaving --concurrent_stages out")
    if dtype.itemsize == _FLOAT32_BYTES:
        changes.append("--dtype bfloat16" if device.type == "cpu" else "--dtype float16")
    if resolution > _SMALL_RESOLUTION:
        changes.append("the 256 px weights (source setup_env.sh --version 1.5)")
    if not changes:
        return "close other programs that use its memory" + ("" if device.type == "cpu" else ", or use --device cpu")
    return f"try {' or '.join([', '.join(changes[:-1]), changes[-1]] if len(changes) > 1 else changes)}"


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} is {value}: it must be between {low:g} and {high:g}")


def _check_interval(name: str, interval: tuple[float, float]) -> None:
    if len(interval) != 2 or not 0.0 <= interval[0] <= interval[1] <= 1.0:
        raise ConfigError(f"{name} is {_text(interval)}: its two numbers must be between 0 and 1, the lower one first")


def _check_published(name: str, value: object, published: object) -> None:
    if value != published:
        raise ConfigError(f"{name} is {_text(value)}, which contradicts exact: use {_text(published)}, or omit exact")


def _text(value: object) -> str:
    """Format a value as on the command line."""
    return " ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: choose one of {', '.join(choices)}")
