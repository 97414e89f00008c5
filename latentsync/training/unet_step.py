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
from latentsync.models.checkpoint import base_record, save_checkpoint
from latentsync.models.vae import LatentCodec
from latentsync.training.training_step import StepContext, StepResult

_PURE_NOISE_FROM = 0.93
"""Lower bound of the timesteps of pure-noise items, as a share of the schedule.

Sampling with 20 steps starts at timestep 951 of 1000, with 50 steps at 981.
"""


@dataclass
class DiffusionConfig:
    """Forward diffusion of training windows.

    Attributes:
        shared_noise: weights of the noise that all frames of a window share (`mixed_noise`); each item draws one.
        audio_dropout: share of items whose audio is dropped, for classifier-free guidance.
        late_timesteps: timesteps are 1000 u^late_timesteps with u uniform: 1 is uniform, less prefers noisy ones.
        pure_noise_prob: share of items that start like sampling, from a late timestep and noise without any trace of
            the target; 0 as published. Even at the last timestep of the schedule the noisy latents contain a trace of
            it (arXiv 2305.08891); a network that relies on this trace takes the colour of the face from the initial
            noise.
    """

    shared_noise: list[float] = field(default_factory=lambda: [1.0])
    audio_dropout: float = 0.1
    late_timesteps: float = 1.0
    pure_noise_prob: float = 0.0

    def __post_init__(self) -> None:
        if not self.shared_noise or min(self.shared_noise) < 0:
            raise ValueError(f"diffusion.shared_noise: give weights from 0 up, not {self.shared_noise}")
        if not (0 <= self.audio_dropout <= 1 and 0 <= self.pure_noise_prob <= 1) or self.late_timesteps <= 0:
            raise ValueError("diffusion: audio_dropout and pure_noise_prob lie in [0, 1], late_timesteps above 0")


@dataclass(frozen=True)
class NoiseDraw:
    """Random draws for one batch of training windows.

    Attributes:
        noise: (b, L, f, h, w) float32.
        timestep: (b,) int64.
        drop_audio: (b,) bool, True for items without audio (the unconditional half of classifier-free guidance).
        is_pure_noise: (b,) bool, True for items whose noisy latents are the noise alone.
    """

    noise: torch.Tensor
    timestep: torch.Tensor
    drop_audio: torch.Tensor
    is_pure_noise: torch.Tensor


def draw_noise(seeds: torch.Tensor, window_shape: tuple[int, ...], config: DiffusionConfig) -> NoiseDraw:
    """Draw noise, timesteps and dropped audio on the CPU.

    Each item has its own generator: its draws depend on its seed alone, not on the rest of the batch or the device.

    Args:
        seeds: (b,) int64.
        window_shape: (L, f, h, w) of one window's latents.
        config: the distributions.
    """
    noises, timesteps, drops, pure = [], [], [], []
    for seed in seeds.tolist():
        generator = torch.Generator().manual_seed(seed)
        choice = int(torch.randint(len(config.shared_noise), (), generator=generator))
        uniform = torch.rand(3, generator=generator)
        pure.append(bool(uniform[2] < config.pure_noise_prob))
        late = _PURE_NOISE_FROM + (1 - _PURE_NOISE_FROM) * uniform[0]
        position = late if pure[-1] else uniform[0] ** config.late_timesteps
        timesteps.append(int(position * NUM_TRAIN_TIMESTEPS))
        drops.append(bool(uniform[1] < config.audio_dropout))
        noises.append(mixed_noise((1, *window_shape), [generator], config.shared_noise[choice]))
    return NoiseDraw(torch.cat(noises), torch.tensor(timesteps), torch.tensor(drops), torch.tensor(pure))


def noise_between(
    clean: torch.Tensor, noisy: torch.Tensor, timestep: torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """Return the noise that leads from clean latents (b, ...) to given noisy ones at timesteps (b,)."""
    signal = alphas_cumprod.to(clean)[timestep].view(-1, *[1] * (clean.ndim - 1))
    return (noisy - signal.sqrt() * clean) / (1 - signal).sqrt()


@dataclass(frozen=True)
class WindowLatents:
    """Latents of a batch, each (b, L, f, h, w): target, masked target, and reference frames."""

    clean: torch.Tensor
    masked: torch.Tensor
    reference: torch.Tensor


class UNetStep:
    """Training step of the U-Net; `latentsync.data.unet_dataset.UNetDataset` documents the batch.

    Args:
        unet: the network to train.
        codec: the frozen autoencoder.
        losses: weighted loss terms.
        diffusion: forward diffusion of the windows.
        resolution: side of the crops in pixels.
        checkpoint_decode: recompute the decoder's activations in the backward pass, to save memory.
        sample_latents: draw latents from the VAE's distribution with each item's seed instead of taking its mean.

    Attributes:
        base: weights that the exported trained weights change; None: all weights are exported.
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
        self.base: Path | None = None
        self.scheduler = build_scheduler("ddim")
        self._keep = keep_mask(resolution)
        self._latent_keep = latent_mask(resolution, resolution // codec.factor)

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Return the loss of a batch on the training device."""
        total, values = self.losses(self.predict(model, batch))
        return StepResult(total, dict(values))

    def predict(self, model: nn.Module, batch: Mapping[str, Any]) -> Prediction:
        """Add noise to the target latents and predict it."""
        latents = self._latents(batch)
        clean = latents.clean
        draw = draw_noise(batch["seed"].cpu(), tuple(clean.shape[1:]), self.diffusion)
        noise, timestep = draw.noise.to(clean), draw.timestep.to(clean.device)
        noisy = self.scheduler.add_noise(clean, noise, timestep)
        noisy = torch.where(draw.is_pure_noise.to(clean.device)[:, None, None, None, None], noise, noisy)
        noise = noise_between(clean, noisy, timestep, self.scheduler.alphas_cumprod)
        audio = batch["audio"] * (~draw.drop_audio).to(batch["audio"])[:, None, None, None]
        predicted = self._predict_noise(model, noisy, timestep, self._conditioning(latents), audio)
        return Prediction(
            predicted_noise=predicted,
            noise=noise,
            timestep=timestep,
            clean_estimate=predict_x0(noisy, predicted, timestep, self.scheduler.alphas_cumprod),
            target_latents=clean,
            codec=self.codec,
            target_pixels=batch.get("pixels"),
            mel=batch.get("mel"),
            has_audio=~draw.drop_audio.to(clean.device),
            checkpoint_decode=self.checkpoint_decode,
        )

    def _conditioning(self, latents: WindowLatents) -> torch.Tensor:
        """Return the mask, the masked latents and the reference latents as (b, 1 + 2 L, f, h, w)."""
        return torch.cat([self._mask_channel(latents.clean), latents.masked, latents.reference], dim=1)

    def _predict_noise(
        self,
        model: nn.Module,
        noisy: torch.Tensor,
        timestep: torch.Tensor,
        conditioning: torch.Tensor,
        audio: torch.Tensor,
    ) -> torch.Tensor:
        """Return the network's prediction (b, L, f, h, w) float32 for noisy latents at timesteps (b,)."""
        # In the backward pass recomputed layers run outside this context and must save the same tensors.
        with nullcontext() if self.checkpoint_decode else plain_attention(noisy.device):
            return model(torch.cat([noisy, conditioning], dim=1), timestep, audio).float()

    def export(self, state_dict: Mapping[str, Any], path: Path, global_step: int, history: Mapping[str, Any]) -> None:
        """Write the weights in the published format, in half precision."""
        extra = {"config": {"resolution": self.resolution}}
        if self.base is not None:
            trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
            state_dict = {name: tensor for name, tensor in state_dict.items() if name in trained}
            extra |= base_record(self.base)
        save_checkpoint(path, state_dict, global_step, extra, torch.float16)

    @torch.no_grad()
    def _latents(self, batch: Mapping[str, Any]) -> WindowLatents:
        """Return cached latents (b, f, L, h, w) of the batch, or encode its pixels (b, f, 3, R, R)."""
        if "latents" in batch:
            names = ("latents", "masked_latents", "reference_latents")
            return WindowLatents(*(batch[name].float().transpose(1, 2) for name in names))
        pixels, reference = batch["pixels"], batch["reference"]
        generators = [_latent_generator(seed) for seed in batch["seed"].tolist()] if self.sample_latents else []
        masked = pixels * self._keep.to(pixels)
        return WindowLatents(*(self._encode(images, generators) for images in (pixels, masked, reference)))

    def _encode(self, pixels: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Encode (b, f, 3, R, R) to (b, L, f, h, w): means, or draws with one CPU generator per item."""
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
    """Return a CPU generator for an item's latents, independent of the one for its noise."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 1]).generate_state(1)[0]))


def plain_attention(device: torch.device) -> AbstractContextManager[object]:
    """Return a context that selects plain attention on CPUs.

    It trains the demo U-Net 1.3 times faster than fused attention, because its sequences are short.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
