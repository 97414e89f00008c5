"""One training step of the lip-sync U-Net: noise, prediction, one-step clean estimate, losses (arXiv 2412.09262)."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentsync.diffusion.noise import mixed_noise, predict_x0
from latentsync.diffusion.sampler import NUM_TRAIN_TIMESTEPS, build_scheduler
from latentsync.face.mask import keep_mask, latent_mask
from latentsync.losses.loss_stack import LossStack, Prediction
from latentsync.models.checkpoint import save_checkpoint
from latentsync.models.vae import LatentCodec
from latentsync.training.training_step import StepContext, StepResult

_STARTS_FROM = 0.93
"""Where in the schedule samplers begin: 20 steps at 951, 50 at 981."""


@dataclass
class DiffusionConfig:
    """How training windows are disturbed.

    Attributes:
        shared_noise: an item draws one of these as the weight of the noise its frames share (`mixed_noise`).
        audio_dropout: share of items that hear nothing, for classifier-free guidance.
        late_timesteps: timesteps are 1000 u^late_timesteps with u uniform: 1 is uniform, less prefers noisy ones.
        start_share: share of items that are as sampling begins: a late timestep, and noise without any trace of the
            target. Even the last timestep of the schedule leaves a trace (arXiv 2305.08891); a network that relies on
            it takes the colour of its first noise for the face's. 0 as published.
    """

    shared_noise: list[float] = field(default_factory=lambda: [1.0])
    audio_dropout: float = 0.1
    late_timesteps: float = 1.0
    start_share: float = 0.0

    def __post_init__(self) -> None:
        if not self.shared_noise or min(self.shared_noise) < 0:
            raise ValueError(f"diffusion.shared_noise: give weights from 0 up, not {self.shared_noise}")
        if not (0 <= self.audio_dropout <= 1 and 0 <= self.start_share <= 1) or self.late_timesteps <= 0:
            raise ValueError("diffusion: audio_dropout and start_share lie in [0, 1], late_timesteps above 0")


@dataclass(frozen=True)
class Disturbance:
    """What an item's own generator decides.

    Attributes:
        noise: (b, L, f, h, w).
        timestep: (b,).
        is_silent: (b,) bool, who hears nothing.
        is_start: (b,) bool, who sees noise alone.
    """

    noise: torch.Tensor
    timestep: torch.Tensor
    is_silent: torch.Tensor
    is_start: torch.Tensor


def draw_disturbance(seeds: torch.Tensor, window_shape: tuple[int, ...], config: DiffusionConfig) -> Disturbance:
    """Draws on the CPU, item by item: an item's draw depends on its seed alone, not on its neighbours or the device.

    Args:
        seeds: (b,) int64.
        window_shape: (L, f, h, w) of one window's latents.
        config: the distributions.
    """
    noises, timesteps, silences, starts = [], [], [], []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(seed)
        choice = int(torch.randint(len(config.shared_noise), (), generator=generator))
        uniform = torch.rand(3, generator=generator)
        starts.append(bool(uniform[2] < config.start_share))
        share = _STARTS_FROM + (1 - _STARTS_FROM) * uniform[0] if starts[-1] else uniform[0] ** config.late_timesteps
        timesteps.append(int(share * NUM_TRAIN_TIMESTEPS))
        silences.append(bool(uniform[1] < config.audio_dropout))
        noises.append(mixed_noise((1, *window_shape), [generator], config.shared_noise[choice]))
    return Disturbance(torch.cat(noises), torch.tensor(timesteps), torch.tensor(silences), torch.tensor(starts))


def noise_between(
    clean: torch.Tensor, noisy: torch.Tensor, timestep: torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """The noise that leads from clean latents (b, ...) to given noisy ones at timesteps (b,)."""
    signal = alphas_cumprod.to(clean)[timestep].view(-1, *[1] * (clean.ndim - 1))
    return (noisy - signal.sqrt() * clean) / (1 - signal).sqrt()


@dataclass(frozen=True)
class WindowLatents:
    """Latents of a batch, each (b, L, f, h, w): the target, the masked target, and the reference frames."""

    clean: torch.Tensor
    masked: torch.Tensor
    reference: torch.Tensor


class UNetStep:
    """Trains the U-Net; see `latentsync.data.unet_dataset.UNetDataset` for the batch.

    Args:
        unet: the network to train.
        codec: the frozen autoencoder.
        losses: the weighted terms.
        diffusion: how windows are disturbed.
        resolution: side of the crops in pixels.
        checkpoint_decode: whether the decoder's activations are recomputed in the backward pass, to save memory.
        sample_latents: draw latents from the VAE's distribution, by each item's seed, instead of taking its mean.
    """

    export_name = "latentsync_unet.pt"

    def __init__(
        self,
        unet: nn.Module,
        codec: LatentCodec,
        losses: LossStack,
        diffusion: DiffusionConfig,
        resolution: int,
        checkpoint_decode: bool = False,
        sample_latents: bool = False,
    ) -> None:
        self.model = unet
        self.codec = codec
        self.losses = losses
        self.diffusion = diffusion
        self.resolution = resolution
        self.checkpoint_decode = checkpoint_decode
        self.sample_latents = sample_latents
        self.scheduler = build_scheduler("ddim")
        self._keep = keep_mask(resolution)
        self._latent_keep = latent_mask(resolution, resolution // codec.factor)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of a batch, which lies on the training device."""
        total, values = self.losses(self.predict(model, batch))
        return StepResult(total, dict(values))

    def predict(self, model: nn.Module, batch: Mapping[str, Any]) -> Prediction:
        """Disturbs the target and lets the network find the noise."""
        latents = self._latents(batch)
        clean = latents.clean
        draw = draw_disturbance(batch["seed"].cpu(), tuple(clean.shape[1:]), self.diffusion)
        noise, timestep = draw.noise.to(clean), draw.timestep.to(clean.device)
        noisy = self.scheduler.add_noise(clean, noise, timestep)
        noisy = torch.where(draw.is_start.to(clean.device)[:, None, None, None, None], noise, noisy)
        noise = noise_between(clean, noisy, timestep, self.scheduler.alphas_cumprod)
        sample = torch.cat([noisy, self._mask_channel(clean), latents.masked, latents.reference], dim=1)
        audio = batch["audio"] * (~draw.is_silent).to(batch["audio"])[:, None, None, None]
        # Recomputed layers run outside this context in the backward pass, and must save the same tensors there.
        with nullcontext() if self.checkpoint_decode else plain_attention(clean.device):
            predicted = model(sample, timestep, audio).float()
        return Prediction(
            predicted_noise=predicted,
            noise=noise,
            timestep=timestep,
            clean_estimate=predict_x0(noisy, predicted, timestep, self.scheduler.alphas_cumprod),
            target_latents=clean,
            codec=self.codec,
            target_pixels=batch.get("pixels"),
            mel=batch.get("mel"),
            has_audio=~draw.is_silent.to(clean.device),
            checkpoint_decode=self.checkpoint_decode,
        )

    def export(self, state_dict: Mapping[str, Any], path: Path, global_step: int, history: Mapping[str, Any]) -> None:
        """Writes the weights in the published format, in half precision."""
        extra = {"config": {"resolution": self.resolution}}
        save_checkpoint(path, state_dict, global_step, extra, torch.float16)

    @torch.no_grad()
    def _latents(self, batch: Mapping[str, Any]) -> WindowLatents:
        """From the cache where the batch brings latents (b, f, L, h, w), else encoded from pixels (b, f, 3, R, R)."""
        if "latents" in batch:
            names = ("latents", "masked_latents", "reference_latents")
            return WindowLatents(*(batch[name].float().transpose(1, 2) for name in names))
        pixels, reference = batch["pixels"], batch["reference"]
        generators = [_latent_generator(seed) for seed in batch["seed"].tolist()] if self.sample_latents else []
        masked = pixels * self._keep.to(pixels)
        return WindowLatents(*(self._encode(images, generators) for images in (pixels, masked, reference)))

    def _encode(self, pixels: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """(b, f, 3, R, R) -> (b, L, f, h, w): means, or draws with one CPU generator an item."""
        if generators:
            items = zip(pixels, generators, strict=True)
            latents = torch.stack([self.codec.encode(item, generator=generator) for item, generator in items])
            return latents.float().transpose(1, 2)
        latents = self.codec.encode(pixels.flatten(0, 1)).float()
        return latents.unflatten(0, pixels.shape[:2]).transpose(1, 2)

    def _mask_channel(self, clean: torch.Tensor) -> torch.Tensor:
        batch, _, num_frames = clean.shape[:3]
        return self._latent_keep.to(clean).expand(batch, 1, num_frames, -1, -1)


def _latent_generator(seed: int) -> torch.Generator:
    """A CPU generator for an item's latents, independent of the one that draws its noise."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))


def plain_attention(device: torch.device) -> AbstractContextManager[object]:
    """On a CPU plain attention trains 1.3 times faster than the fused one: the demo's sequences are short."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
