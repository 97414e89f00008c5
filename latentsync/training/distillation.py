"""Few-step distillation: the U-Net learns the result of a teacher's many guided steps in one or two of its own.

Targets are the teacher's latents from the same noise. The student samples with trailing timesteps (two steps: 999 and
499) and without guidance, from noise without any trace of the target. All steps of its sampling are trained together:
the noisy latents of a later step are those that its own earlier steps lead to, without gradient through them, so
training has the same inputs as sampling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from latentsync.diffusion.noise import predict_x0
from latentsync.diffusion.sampler import build_scheduler, denoise
from latentsync.losses.loss_stack import LossStack, Prediction
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.storage.content_cache import ArrayCache, cache_key
from latentsync.training.unet_step import DiffusionConfig, UNetStep, draw_noise, noise_between

TIMESTEP_SPACINGS = ("leading", "trailing")
_TARGETS_VERSION = "teacher-2"
"""Part of the cache keys: raise the number when the computation changes."""


@dataclass
class DistillationConfig:
    """Few-step distillation of the initial weights.

    Attributes:
        num_steps: denoising steps of the student; the first of them is what sampling in one step does.
        truth_share: in [0, 1], share of the window's true latents in the targets; the rest is the teacher's.
        teacher_steps: denoising steps of the teacher.
        teacher_spacing: spacing of its timesteps, leading or trailing.
        teacher_guidance: its guidance scale; the student is trained to sample without guidance.
        teacher_guidance_interval: [low, high]; it is guided at timesteps t with low <= t / 1000 <= high.
    """

    num_steps: int = 2
    truth_share: float = 0.0
    teacher_steps: int = 20
    teacher_spacing: str = "leading"
    teacher_guidance: float = 1.5
    teacher_guidance_interval: list[float] = field(default_factory=lambda: [0.0, 1.0])

    def __post_init__(self) -> None:
        if min(self.num_steps, self.teacher_steps) < 1:
            raise ValueError("distillation: num_steps and teacher_steps are at least 1")
        if not 0 <= self.truth_share <= 1:
            raise ValueError(f"distillation.truth_share {self.truth_share} is not in [0, 1]")
        if self.teacher_spacing not in TIMESTEP_SPACINGS:
            names = ", ".join(TIMESTEP_SPACINGS)
            raise ValueError(f"distillation.teacher_spacing: use {names}, not {self.teacher_spacing!r}")
        if self.teacher_guidance < 1:
            raise ValueError(f"distillation.teacher_guidance {self.teacher_guidance} is below 1")
        interval = self.teacher_guidance_interval
        if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
            raise ValueError(f"distillation.teacher_guidance_interval: use [low, high] in [0, 1], not {interval}")


class Teacher:
    """Frozen U-Net whose guided latents are the targets; the latents of a window are computed once and cached.

    Args:
        unet: the network on the training device, in the format of the frozen networks.
        config: its sampling.
        cache: stores the latents.
        key: of what determines them besides sampling, clip, window and seed: weights, VAE, audio encoder, data, noise.
    """

    def __init__(self, unet: UNet3DConditionModel, config: DistillationConfig, cache: ArrayCache, key: str) -> None:
        self.unet = unet.eval().requires_grad_(False)
        self.config, self.cache = config, cache
        sampling = (config.teacher_steps, config.teacher_spacing, config.teacher_guidance, self._interval)
        self._key = cache_key(_TARGETS_VERSION, key, *map(str, sampling))
        self._scheduler = build_scheduler("ddim", config.teacher_spacing)

    def __call__(self, batch: Mapping[str, Any], noise: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        """Return the latents (b, L, f, h, w) float32 of a batch.

        Args:
            batch: see `latentsync.data.unet_dataset.UNetDataset`.
            noise: (b, L, f, h, w), which the batch's seeds determine.
            conditioning: (b, 1 + 2 L, f, h, w) mask, masked latents and reference latents.
        """
        keys = self._keys(batch)
        stored = {key: latents for key in keys if (latents := self.cache.read(key)) is not None}
        missing = [index for index, key in enumerate(keys) if key not in stored]
        if missing:
            computed = self._sample(noise[missing], conditioning[missing], batch["audio"][missing])
            for index, latents in zip(missing, computed, strict=True):
                stored[keys[index]] = self.cache.get(keys[index], lambda latents=latents: latents)
        return torch.from_numpy(np.stack([stored[key] for key in keys]).astype(np.float32)).to(noise.device)

    @property
    def _interval(self) -> tuple[float, float]:
        low, high = self.config.teacher_guidance_interval
        return low, high

    def _keys(self, batch: Mapping[str, Any]) -> list[str]:
        names = ("start", "reference_start", "seed", "variant")
        windows = zip(batch["clip_key"], *(batch[name].tolist() for name in names), strict=True)
        return [cache_key(self._key, *window) for window in windows]

    def _sample(self, noise: torch.Tensor, conditioning: torch.Tensor, audio: torch.Tensor) -> np.ndarray:
        dtype = self.unet.dtype
        steps, guidance = self.config.teacher_steps, self.config.teacher_guidance
        latents = denoise(
            self.unet,
            self._scheduler,
            noise,
            conditioning.to(dtype),
            audio.to(dtype),
            steps,
            guidance,
            guidance_interval=self._interval,
        )
        return latents.cpu().numpy().astype(np.float16)


class DistillationStep(UNetStep):
    """Training step of the student: its own sampling, compared with the teacher's result at every step.

    The items of the loss are the clean estimates of all denoising steps, one after the other.

    Args:
        teacher: computes the targets.
        unet, codec, losses, diffusion, resolution, checkpoint_decode, sample_latents: as for `UNetStep`. Of the forward
            diffusion only `shared_noise` has a meaning here.
    """

    def __init__(
        self,
        teacher: Teacher,
        unet: nn.Module,
        codec: LatentCodec,
        losses: LossStack,
        diffusion: DiffusionConfig,
        resolution: int,
        checkpoint_decode: bool = False,
        sample_latents: bool = False,
    ) -> None:
        super().__init__(unet, codec, losses, diffusion, resolution, checkpoint_decode, sample_latents)
        self.teacher = teacher
        self.num_steps, self.truth_share = teacher.config.num_steps, teacher.config.truth_share
        self.scheduler = build_scheduler("ddim", "trailing")

    def predict(self, model: nn.Module, batch: Mapping[str, Any]) -> Prediction:
        """Sample with the student and return the predictions of all its steps, with their common target."""
        latents = self._latents(batch)
        noise = draw_noise(batch["seed"].cpu(), tuple(latents.clean.shape[1:]), self.diffusion).noise.to(latents.clean)
        conditioning = self._conditioning(latents)
        target = self.teacher(batch, noise, conditioning).lerp(latents.clean, self.truth_share)
        self.scheduler.set_timesteps(self.num_steps, device=noise.device)
        noisy, inputs, predictions = noise, [], []
        for timestep in self.scheduler.timesteps:
            inputs.append(noisy)
            predictions.append(
                self._predict_noise(model, noisy, timestep.expand(len(noise)), conditioning, batch["audio"])
            )
            noisy = self.scheduler.step(predictions[-1].detach(), timestep, noisy, return_dict=False)[0]
        return self._joined(torch.cat(inputs), torch.cat(predictions), target, batch)

    def _joined(
        self, noisy: torch.Tensor, predicted: torch.Tensor, target: torch.Tensor, batch: Mapping[str, Any]
    ) -> Prediction:
        alphas = self.scheduler.alphas_cumprod
        timestep = self.scheduler.timesteps.repeat_interleave(len(target))
        target = target.repeat(self.num_steps, 1, 1, 1, 1)
        pixels, mel = batch.get("pixels"), batch.get("mel")
        return Prediction(
            predicted_noise=predicted,
            noise=noise_between(target, noisy, timestep, alphas),
            timestep=timestep,
            clean_estimate=predict_x0(noisy, predicted, timestep, alphas),
            target_latents=target,
            codec=self.codec,
            target_pixels=None if pixels is None else pixels.repeat(self.num_steps, 1, 1, 1, 1),
            mel=None if mel is None else mel.repeat(self.num_steps, 1, 1, 1),
            checkpoint_decode=self.checkpoint_decode,
        )
