"""One training step of the demo VAE."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from demo.training.vae import TrainedVae, latent_scale, save_vae, vae_with
from latentsync.training.training_step import StepContext, StepResult

_SMALL_CROPS_PER_PICTURE = 3


class VaeStep:
    """Reconstruction of pictures, most of all of the mouth, and the latents' distance from a normal distribution.

    Args:
        network: the VAE to train; where its encoder does not, the latents keep their scale.
        probe: pictures (n, 3, R, R) that decide the scale of the latents.
        small_crops_until: share of the training that looks at crops of half the side, three of each picture.
        kl_weight: of the distance from a normal distribution.
    """

    export_name = "vae"

    def __init__(self, network: TrainedVae, probe: torch.Tensor, small_crops_until: float, kl_weight: float) -> None:
        self.network = network
        self.probe = probe
        self.small_crops_until = small_crops_until
        self.kl_weight = kl_weight

    @property
    def model(self) -> nn.Module:
        """The network to train."""
        return self.network

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], context: StepContext) -> StepResult:
        """Loss of a batch of `VaePictures`."""
        images = batch["picture"]
        weight = mouth_weight(images.shape[-1]).to(images).expand(len(images), -1, -1, -1)
        generators = [torch.Generator().manual_seed(seed) for seed in batch["seed"].tolist()]
        if context.fraction < self.small_crops_until:
            images, weight = small_crops(images, weight, generators)
        images = images.contiguous(memory_format=torch.channels_last)
        noise = self._noise(generators, len(images) // len(generators), images)
        output, mean, log_variance = (part.float() for part in model(images, noise))
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = reconstruction_loss(output, images, weight) + self.kl_weight * kl
        return StepResult(loss, {"psnr_db": mean_psnr_db(output.detach(), images), "kl": kl.detach()})

    def export(
        self, state_dict: Mapping[str, torch.Tensor], path: Path, global_step: int, history: Mapping[str, list[float]]
    ) -> None:
        """Writes a diffusers folder in half precision."""
        state = {name.removeprefix("vae."): value for name, value in state_dict.items()}
        vae = vae_with(state, self.network.vae)
        scale = latent_scale(vae, self.probe) if self.network.trains_encoder else float(vae.config["scaling_factor"])
        save_vae(vae, scale, path)

    def _noise(self, generators: list[torch.Generator], per_item: int, images: torch.Tensor) -> torch.Tensor:
        """Noise of the latents (n, L, h, w), drawn item by item on the CPU."""
        config = self.network.vae.config
        factor = 2 ** (len(config["block_out_channels"]) - 1)
        shape = (per_item, config["latent_channels"], images.shape[-2] // factor, images.shape[-1] // factor)
        return torch.cat([torch.randn(shape, generator=generator) for generator in generators]).to(images)


def small_crops(
    images: torch.Tensor, weight: torch.Tensor, generators: list[torch.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts crops of half the side out of images (b, 3, R, R) and weights (b, 1, R, R), an item's next to each other."""
    size = images.shape[-1] // 2
    cut_images, cut_weights = [], []
    for item, generator in enumerate(generators):
        corners = torch.randint(0, images.shape[-1] - size + 1, (_SMALL_CROPS_PER_PICTURE, 2), generator=generator)
        for y, x in corners.tolist():
            cut_images.append(images[item, :, y : y + size, x : x + size])
            cut_weights.append(weight[item, :, y : y + size, x : x + size])
    return torch.stack(cut_images), torch.stack(cut_weights)


def mouth_weight(resolution: int) -> torch.Tensor:
    """Pixel weights (1, R, R): 1, and a smooth bump to 2.5 about the place where aligned crops have the mouth."""
    y, x = torch.meshgrid(torch.linspace(0, 1, resolution), torch.linspace(0, 1, resolution), indexing="ij")
    return (1 + 1.5 * torch.exp(-(((x - 0.5) / 0.2) ** 2 + ((y - 0.68) / 0.16) ** 2)))[None]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted L1 and L2, gradients, chroma, and coarse means at a quarter and a sixteenth of the size.

    Args:
        output, target: images (n, 3, h, w) in [-1, 1].
        weight: pixel weights (n, 1, h, w).
    """
    error = output - target
    pixel = (weight * (error.abs() + 4 * error.square())).mean()
    gradient = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    fine = F.avg_pool2d(error, 2)
    chroma = (fine - fine.mean(1, keepdim=True)).abs().mean()
    quarter = F.avg_pool2d(fine, 2)
    coarse = quarter.abs().mean() + F.avg_pool2d(quarter, 4).abs().mean()
    return pixel + 0.5 * gradient + 1.5 * chroma + 0.75 * coarse


def mean_psnr_db(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean PSNR of images (n, 3, h, w) in [-1, 1]."""
    squared = (output - target).square().mean(dim=(1, 2, 3)) / 4
    return -10 * squared.log10().mean()
