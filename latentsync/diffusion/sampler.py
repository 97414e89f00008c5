"""Sampling: the published noise schedule, the samplers over it, and the denoising loop with guidance and DeepCache."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from latentsync.errors import ConfigError

NUM_TRAIN_TIMESTEPS = 1000
BETA_START = 0.00085
BETA_END = 0.012
SCHEDULERS = ("ddim", "dpmsolver++", "unipc")


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


def build_scheduler(name: str = "ddim") -> Scheduler:
    """Build a sampler over the published schedule: 1000 timesteps, scaled-linear betas, epsilon prediction.

    Args:
        name: "ddim" (published), "dpmsolver++" or "unipc" (second order, sufficient with about half the steps).

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
            steps_offset=1,
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
        timestep_spacing="leading",
        prediction_type="epsilon",
    )


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
) -> torch.Tensor:
    """Denoise windows of latents.

    Classifier-free guidance (arXiv 2207.12598) predicts noise without audio (all-zero tokens) and with audio in one
    batch of twice the size, and extrapolates from the unconditional prediction by `guidance_scale`. A scale of 1.0
    skips the unconditional half: 0.77 of the CPU time of the whole demo run. A DeepCache interval of 3 takes 0.65 of it
    (docs/inference.md).

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

    Returns:
        float32 (b, L, f, h, w).
    """
    if num_steps < 1 or deepcache_interval < 1:
        raise ValueError(f"num_steps {num_steps} and deepcache_interval {deepcache_interval} must be at least 1")
    is_guided = guidance_scale != 1.0
    if is_guided:
        audio = torch.cat([torch.zeros_like(audio), audio])
        conditioning = torch.cat([conditioning, conditioning])
    audio_keys_values = unet.prepare_audio(audio)
    deep_features = unet.new_deep_features() if deepcache_interval > 1 else None
    scheduler.set_timesteps(num_steps, device=noise.device)
    latents = noise.float() * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        if deep_features is not None:
            deep_features.reuse = step % deepcache_interval != 0
        noisy = scheduler.scale_model_input(latents, timestep).to(conditioning.dtype)
        sample = torch.cat([torch.cat([noisy, noisy]) if is_guided else noisy, conditioning], dim=1)
        predicted = unet(sample, timestep, audio_keys_values, deep_features).float()
        if is_guided:
            unconditional, conditional = predicted.chunk(2)
            predicted = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        if progress is not None:
            progress(step + 1)
    return latents
