"""What a user may choose for one run of the lip-sync pipeline."""

import math
from dataclasses import dataclass

from latentsync.errors import ConfigError
from latentsync.face.tracker import parse_selector
from latentsync.models.vae import BATCH_SIZE

SCHEDULERS = ("ddim", "dpmsolver++", "unipc")
VIDEO_FPS = ("25", "source")
PUBLISHED = {"overlap_frames": 0, "scheduler": "ddim", "video_fps": "25"}
"""Options of which the published system has one value only: `exact` allows no other."""


@dataclass(frozen=True)
class LipsyncOptions:
    """Choices for one video; every value is checked when the object is made.

    Attributes:
        num_inference_steps: denoising steps.
        guidance_scale: weight of the audio over no audio; 1 does without the second half of the batch.
        seed: of the initial noise; equal seed and input give equal output.
        scheduler: one of `SCHEDULERS`.
        deepcache_interval: the deep layers run at every n-th step only; 1 runs them always.
        overlap_frames: frames that neighbouring windows share and blend.
        batch_windows: windows that go through the networks at once; it changes speed and memory, not the result.
        vae_batch_size: images that go through the VAE at once; it changes speed and memory, not the result.
        video_fps: frames per second of the result, ``25`` or ``source``.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        face: which face to follow: ``largest``, ``left``, ``right``, an index from the left, or ``x,y`` in pixels.
        compare: also write source and result side by side.
        exact: the published system's behaviour wherever the default differs (docs/inference.md has the list). Needs
            overlap_frames 0, scheduler ddim and video_fps 25.

    Raises:
        ConfigError: a value is not a number, out of range, or contradicts `exact`.
        InputError: `face` means nothing.
    """

    num_inference_steps: int = 20
    guidance_scale: float = 1.5
    seed: int = 1247
    scheduler: str = "ddim"
    deepcache_interval: int = 1
    overlap_frames: int = 4
    batch_windows: int = 1
    vae_batch_size: int = BATCH_SIZE
    video_fps: str = "25"
    crf: int = 18
    face: str = "largest"
    compare: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        _check_range("inference_steps", self.num_inference_steps, 1, 1000)
        _check_range("guidance_scale", self.guidance_scale, 1.0, 20.0)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("deepcache_interval", self.deepcache_interval, 1, 1000)
        _check_range("overlap_frames", self.overlap_frames, 0, 12)
        _check_range("batch_size", self.batch_windows, 1, 64)
        _check_range("vae_batch_size", self.vae_batch_size, 1, 1024)
        _check_range("crf", self.crf, 0, 51)
        parse_selector(self.face)
        _check_choice("scheduler", self.scheduler, SCHEDULERS)
        _check_choice("video_fps", self.video_fps, VIDEO_FPS)
        if self.exact:
            for name, published in PUBLISHED.items():
                _check_published(name, getattr(self, name), published)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} is {value}: it must lie between {low:g} and {high:g}")


def _check_published(name: str, value: object, published: object) -> None:
    if value != published:
        raise ConfigError(f"{name} is {value}, which contradicts exact: use {published}, or leave exact out")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: choose one of {', '.join(choices)}")
