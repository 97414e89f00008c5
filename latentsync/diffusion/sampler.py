"""Sampling: the published noise schedule, the samplers over it, and the denoising loop with guidance and DeepCache."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Protocol, cast

import torch

from latentsync.errors import ConfigError

NUM_TRAIN_TIMESTEPS = 1000
BETA_START = 0.00085
BETA_END = 0.012
SCHEDULERS = ("ddim", "dpmsolver++", "unipc")
ALWAYS = (0.0, 1.0)
"""Interval of t / 1000 that contains all timesteps."""


class Scheduler(Protocol):
    """The part of a diffusers scheduler that sampling and training use."""

    timesteps: Any
    alphas_cumprod: Any
    init_noise_sigma: float

    def set_timesteps(self, num_inference_steps: Any, device: Any = None) -> None:
        """Set the timesteps of a sampling loop and reset the state of the previous one."""
        ...

    def scale_model_input(self, sample: Any, timestep: Any) -> Any:
        """Scale the current latents for the network."""
        ...

    def step(self, model_output: Any, timestep: Any, sample: Any, *, return_dict: bool = True) -> Any:
        """Take one denoising step; with `return_dict` False, return a tuple that starts with the next latents."""
        ...

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        """Add noise to clean latents (b, ...) at timesteps (b,) (forward diffusion)."""
        ...


class DeepFeatureStore(Protocol):
    """DeepCache's features of the coarse levels, kept between denoising steps; `reuse` makes the network read them."""

    reuse: bool


class NoisePredictor(Protocol):
    """Interface of the U-Net (`latentsync.models.unet.UNet3DConditionModel`) as the denoising loop uses it."""

    def prepare_audio(self, audio: torch.Tensor) -> Any:
        """Convert audio tokens (b, f, s, d) to the cross-attention inputs shared by all steps."""
        ...

    def new_deep_features(self) -> DeepFeatureStore:
        """Return an empty store."""
        ...

    def __call__(
        self, sample: torch.Tensor, timestep: torch.Tensor | int, audio: Any, deep_features: Any = None
    ) -> torch.Tensor:
        """Predict the noise in (b, c, f, h, w)."""
        ...


def build_scheduler(name: str = "ddim", timestep_spacing: str = "leading") -> Scheduler:
    """Build a sampler over the published schedule: 1000 timesteps, scaled-linear betas, epsilon prediction.

    Args:
        name: "ddim" (published), "dpmsolver++" or "unipc" (second order, sufficient with about half the steps).
        timestep_spacing: "leading" (published) starts below the last timestep: 501 and 1 in two DDIM steps. "trailing"
            starts at the last one: 999 and 499 in two steps (arXiv 2305.08891, table 2).

    Raises:
        ConfigError: unknown name.
    """
    # imported here: the command lines read SCHEDULERS only
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    if name == "ddim":
        return DDIMScheduler(
            num_train_timesteps=NUM_TRAIN_TIMESTEPS,
            beta_start=BETA_START,
            beta_end=BETA_END,
            beta_schedule="scaled_linear",
            steps_offset=1,  # of leading timesteps only
            timestep_spacing=cast(Any, timestep_spacing),  # a Literal in diffusers
            clip_sample=False,
            set_alpha_to_one=False,
            prediction_type="epsilon",
        )
    kinds = {"dpmsolver++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
    if name not in kinds:
        raise ConfigError(f"unknown scheduler {name!r}: use {', '.join(SCHEDULERS)}")
    return kinds[name](
        num_train_timesteps=NUM_TRAIN_TIMESTEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing=timestep_spacing,
        prediction_type="epsilon",
    )


def guided_steps(timesteps: Sequence[int], guidance_scale: float, interval: tuple[float, float]) -> list[bool]:
    """Return for each timestep whether it is guided: low <= t / 1000 <= high, and a scale other than 1."""
    low, high = interval
    return [guidance_scale != 1.0 and low <= timestep / NUM_TRAIN_TIMESTEPS <= high for timestep in timesteps]


def deepcache_steps(is_guided: Sequence[bool], interval: int) -> list[bool]:
    """Return for each step whether it reuses deep features.

    All levels are computed at every n-th step, counted from the start and from each change of guidance, which changes
    the batch size of the features.
    """
    return [index % interval != 0 for _, steps in groupby(is_guided) for index, _ in enumerate(steps)]


class _ConditionedUNet:
    """The U-Net with the inputs that all steps share, with or without classifier-free guidance."""

    def __init__(
        self, unet: NoisePredictor, conditioning: torch.Tensor, audio: torch.Tensor, guidance_scale: float | None
    ) -> None:
        self.unet, self.guidance_scale = unet, guidance_scale
        if guidance_scale is not None:
            audio = torch.cat([torch.zeros_like(audio), audio])
            conditioning = torch.cat([conditioning, conditioning])
        self.conditioning, self.audio = conditioning, unet.prepare_audio(audio)

    def __call__(self, noisy: torch.Tensor, timestep: Any, deep_features: DeepFeatureStore | None) -> torch.Tensor:
        """Predict the noise in (b, L, f, h, w), in float32."""
        is_guided = self.guidance_scale is not None
        sample = torch.cat([torch.cat([noisy, noisy]) if is_guided else noisy, self.conditioning], dim=1)
        predicted = self.unet(sample, timestep, self.audio, deep_features).float()
        if self.guidance_scale is None:
            return predicted
        unconditional, conditional = predicted.chunk(2)
        return unconditional + self.guidance_scale * (conditional - unconditional)


@torch.no_grad()
def denoise(
    unet: NoisePredictor,
    scheduler: Scheduler,
    noise: torch.Tensor,
    conditioning: torch.Tensor,
    audio: torch.Tensor,
    num_steps: int,
    guidance_scale: float,
    deepcache_interval: int = 1,
    progress: Callable[[int], None] | None = None,
    guidance_interval: tuple[float, float] = ALWAYS,
) -> torch.Tensor:
    """Denoise windows of latents.

    Classifier-free guidance (arXiv 2207.12598) predicts noise without audio (all-zero tokens) and with audio in one
    batch of twice the size, and extrapolates from the unconditional prediction by `guidance_scale`. A scale of 1.0
    skips the unconditional half: 0.77 of the CPU time of the whole demo run. So do timesteps outside of
    `guidance_interval` (arXiv 2404.07724). A DeepCache interval of 3 takes 0.65 of it (docs/inference.md).

    Args:
        unet: predicts the noise.
        scheduler: from `build_scheduler`; every call resets its state.
        noise: (b, L, f, h, w), see `window_noise`; its device is used for the arithmetic.
        conditioning: (b, 1 + 2 L, f, h, w) mask, masked latents and reference latents; the same in every step.
        audio: (b, f, s, d) tokens.
        num_steps: denoising steps, from 1.
        guidance_scale: from 1.0.
        deepcache_interval: every n-th step computes all levels, the steps between reuse its deep features; 1 is exact.
        progress: called with the number of completed steps after each step.
        guidance_interval: (low, high); timesteps t with low <= t / 1000 <= high are guided, the others use the
            conditional prediction.

    Returns:
        float32 (b, L, f, h, w).
    """
    if num_steps < 1 or deepcache_interval < 1:
        raise ValueError(f"num_steps {num_steps} and deepcache_interval {deepcache_interval} must be at least 1")
    scheduler.set_timesteps(num_steps, device=noise.device)
    # with 62 of the trailing counts, from 61 on, diffusers rounds to one timestep more: -1
    timesteps = scheduler.timesteps[:num_steps]
    is_guided = guided_steps(timesteps.tolist(), guidance_scale, guidance_interval)
    predict = {
        guided: _ConditionedUNet(unet, conditioning, audio, guidance_scale if guided else None)
        for guided in set(is_guided)
    }
    deep_features = unet.new_deep_features() if deepcache_interval > 1 else None
    reuses = deepcache_steps(is_guided, deepcache_interval)
    latents = noise.float() * scheduler.init_noise_sigma
    for step, timestep in enumerate(timesteps):
        if deep_features is not None:
            deep_features.reuse = reuses[step]
        noisy = scheduler.scale_model_input(latents, timestep).to(conditioning.dtype)
        predicted = predict[is_guided[step]](noisy, timestep, deep_features)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        if progress is not None:
            progress(step + 1)
    return latents
