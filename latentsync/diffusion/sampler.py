"""The sampling loop: from noise to clean latents, with classifier-free guidance and DeepCache."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from latentsync.diffusion.scheduler import Scheduler


class DeepFeatureStore(Protocol):
    """Carries deep features between steps; with `reuse` set the network takes them instead of computing them."""

    reuse: bool


class NoisePredictor(Protocol):
    """What the loop needs of a U-Net (`latentsync.models.unet.UNet3DConditionModel` is one)."""

    def prepare_audio(self, audio: torch.Tensor) -> Any:
        """Turns audio tokens (b, f, s, d) into what every step's call takes."""
        ...

    def new_deep_features(self) -> DeepFeatureStore:
        """An empty store."""
        ...

    def __call__(
        self, sample: torch.Tensor, timestep: torch.Tensor | int, audio: Any, deep_features: Any = None
    ) -> torch.Tensor:
        """Predicts the noise in (b, c, f, h, w)."""
        ...


@torch.no_grad()
def denoise(
    unet: NoisePredictor,
    scheduler: Scheduler,
    noise: torch.Tensor,
    constant: torch.Tensor,
    audio: torch.Tensor,
    num_steps: int,
    guidance_scale: float,
    deepcache_interval: int = 1,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Denoises windows of latents.

    Guidance (arXiv 2207.12598) runs the windows twice in one batch, first without sound (all-zero audio), then with it,
    and goes on from the first prediction by `guidance_scale` times the difference; 1.0 leaves out the silent half.
    What the steps have in common (audio keys and values, the constant channels) is made once.

    Args:
        unet: predicts the noise.
        scheduler: from `build_scheduler`; its state is set anew by every call.
        noise: (b, L, f, h, w), see `window_noise`; its device is where the arithmetic happens.
        constant: (b, 1 + 2 L, f, h, w) mask, masked latents and reference latents.
        audio: (b, f, s, d) tokens.
        num_steps: denoising steps, from 1.
        guidance_scale: from 1.0.
        deepcache_interval: every so many steps is a full one, those between reuse its deep features; 1 is exact.
        progress: called with the number of steps done after each.

    Returns:
        float32 (b, L, f, h, w).
    """
    if num_steps < 1 or deepcache_interval < 1:
        raise ValueError(f"num_steps {num_steps} and deepcache_interval {deepcache_interval} must be at least 1")
    guided = guidance_scale != 1.0
    if guided:
        audio = torch.cat([torch.zeros_like(audio), audio])
        constant = torch.cat([constant, constant])
    audio_keys_values = unet.prepare_audio(audio)
    deep_features = unet.new_deep_features() if deepcache_interval > 1 else None
    scheduler.set_timesteps(num_steps, device=noise.device)
    latents = noise.float() * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        if deep_features is not None:
            deep_features.reuse = step % deepcache_interval != 0
        noisy = scheduler.scale_model_input(latents, timestep).to(constant.dtype)
        sample = torch.cat([torch.cat([noisy, noisy]) if guided else noisy, constant], dim=1)
        predicted = unet(sample, timestep, audio_keys_values, deep_features).float()
        if guided:
            silent, speaking = predicted.chunk(2)
            predicted = silent + guidance_scale * (speaking - silent)
        latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
        if progress is not None:
            progress(step + 1)
    return latents
