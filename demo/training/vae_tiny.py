"""The demo's tiny VAE: a diffusers AutoencoderTiny between the same pixels and latents as the demo VAE.

The encoder learns the latents of the full VAE, scaled as the U-Net takes them. The decoder learns to reconstruct images
from both encoders' latents, those of the full one with some noise, as a U-Net leaves it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import nn
from torch.nn import functional as F

from demo.training.demo_network import ClipItems, DemoNetwork, DemoRun
from demo.training.vae import (
    ReconstructionValidator,
    mean_psnr_db,
    save_vae,
    small_crops,
)
from demo.training.vae_images import VaeImages
from latentsync.device import frozen_dtype, process_device, resolve_mixed_precision
from latentsync.losses.reconstruction import mouth_pixel_weight, reconstruction_loss
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.training.training_step import StepContext, StepResult
from latentsync.weights import find_initial_vae

_LATENT_CHANNELS = 8


@dataclass
class VaeTinyRun(DemoRun):
    """Root configuration of the demo's tiny VAE (`configs/demo/vae_tiny.yaml`).

    Attributes:
        teacher: diffusers folder of the full VAE, in the working folder or the repository.
        channels: channels of all layers; AutoencoderTiny has equally many at every size.
        encoder_blocks, decoder_blocks: blocks at each size, from the first to the last layer.
        small_crops_until: share of the training that uses crops of half the side.
        latent_weight: weight of the squared error of the latents.
        latent_noise: largest standard deviation of the noise in the full VAE's latents.
    """

    teacher: str = "checkpoints/demo/vae"
    channels: int = 32
    encoder_blocks: list[int] = field(default_factory=lambda: [0, 1, 3, 4])
    decoder_blocks: list[int] = field(default_factory=lambda: [6, 4, 2, 0])
    small_crops_until: float = 0.35
    latent_weight: float = 1.0
    latent_noise: float = 0.1

    def __post_init__(self) -> None:
        if len(self.encoder_blocks) != len(self.decoder_blocks) or self.channels < 1:
            raise ValueError("encoder_blocks and decoder_blocks must be equally many, channels at least 1")
        if not 0 <= self.small_crops_until <= 1 or min(self.latent_weight, self.latent_noise) < 0:
            raise ValueError("small_crops_until must be in [0, 1], latent_weight and latent_noise at least 0")


def build_tiny_vae(run: VaeTinyRun) -> AutoencoderTiny:
    """Build an untrained tiny VAE. Its latents are the scaled ones, so its scaling factor is 1."""
    channels = (run.channels,) * len(run.encoder_blocks)
    config = {
        "encoder_block_out_channels": channels,
        "decoder_block_out_channels": channels,
        "num_encoder_blocks": tuple(run.encoder_blocks),
        "num_decoder_blocks": tuple(run.decoder_blocks),
        "latent_channels": _LATENT_CHANNELS,
        "scaling_factor": 1.0,
    }
    return cast(AutoencoderTiny, AutoencoderTiny.from_config(config))


class TrainedTinyVae(nn.Module):
    """Tiny VAE whose forward pass returns everything that its loss needs; convolutions are channels last.

    Args:
        vae: the tiny VAE.
    """

    def __init__(self, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.vae = vae
        for parameter in vae.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(
        self, images: torch.Tensor, full_latents: torch.Tensor, from_full: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode images, and decode these latents or those of the full VAE.

        Args:
            images: (n, 3, h, w) in [-1, 1].
            full_latents: (n, L, h / 8, w / 8) of the full VAE, scaled, with or without noise.
            from_full: (n,) bool, True for items that are decoded from the full VAE's latents.

        Returns:
            Reconstruction (n, 3, h, w); latents (n, L, h / 8, w / 8) of the tiny encoder.
        """
        latents = self.vae.encoder(images)
        chosen = torch.where(from_full[:, None, None, None], full_latents.to(latents), latents)
        return self.vae.decoder(chosen), latents


class VaeTinyStep:
    """Training step: reconstruction error as of the demo VAE, plus the squared error of the latents.

    Args:
        network: the tiny VAE.
        teacher: the full VAE.
        run: weights of the loss.
    """

    export_name = "vae_tiny"

    def __init__(self, network: TrainedTinyVae, teacher: LatentCodec, run: VaeTinyRun) -> None:
        self.network = network
        self.teacher = teacher
        self.run = run

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.network

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Compute the loss of a batch of `VaeImages`; every second image is decoded from the full VAE's latents."""
        images = batch["image"]
        weight = mouth_pixel_weight(images.shape[-1]).to(images).expand(len(images), -1, -1, -1)
        generators = [torch.Generator().manual_seed(seed) for seed in batch["seed"].tolist()]
        if context.fraction < self.run.small_crops_until:
            images, weight = small_crops(images, weight, generators)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            target = self.teacher.encode(images, batch_size=len(images)).float()
        from_full = torch.arange(len(images), device=images.device) % 2 == 0
        parts = model(images, target + self._noise(generators, target), from_full)
        output, latents = (part.float() for part in parts)
        latent_error = F.mse_loss(latents, target)
        loss = reconstruction_loss(output, images, weight) + self.run.latent_weight * latent_error
        psnr = mean_psnr_db(output.detach(), images)
        return StepResult(loss, {"psnr_db": psnr, "latent_error": latent_error.detach()})

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Write a diffusers folder in half precision."""
        vae = build_tiny_vae(self.run)
        vae.load_state_dict({name.removeprefix("vae."): value for name, value in state_dict.items()})
        save_vae(vae, 1.0, path)
        _drop_derived_config(path / "config.json")

    def _noise(self, generators: Sequence[torch.Generator], like: torch.Tensor) -> torch.Tensor:
        """Draw noise (n, L, h, w) item by item on the CPU, each of its own standard deviation."""
        shape = (len(like) // len(generators), *like.shape[1:])
        scales = [self.run.latent_noise * torch.rand(shape[0], 1, 1, 1, generator=one) for one in generators]
        noise = [scale * torch.randn(shape, generator=one) for scale, one in zip(scales, generators, strict=True)]
        return torch.cat(noise).to(like)


def _drop_derived_config(path: Path) -> None:
    """Remove the key that AutoencoderTiny adds to its configuration, and warns of when it reads it again."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("block_out_channels", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _build_step(run: VaeTinyRun, network: TrainedTinyVae, items: ClipItems) -> VaeTinyStep:
    device = process_device(run.training.device)
    dtype = frozen_dtype(resolve_mixed_precision(run.training.mixed_precision, device))
    return VaeTinyStep(network, load_vae(find_initial_vae(run.teacher), device, dtype), run)


VAE_TINY: DemoNetwork[VaeTinyRun, TrainedTinyVae] = DemoNetwork(
    description="Train the tiny VAE on the latents of the full one.",
    schema=VaeTinyRun,
    build_model=lambda run, teacher: TrainedTinyVae(build_tiny_vae(run)),
    build_dataset=VaeImages,
    build_step=_build_step,
    build_validator=ReconstructionValidator,
    find_initial=find_initial_vae,
    weights_key="teacher",
)
