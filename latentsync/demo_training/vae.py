"""The demo VAE: a small AutoencoderKL for 128 px crops, factor 8, that keeps colours.

One norm group: a group norm removes each group's mean and scale, and with few channels a group the colour with it.
"""

import logging
import os
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch.nn import functional as F

from latentsync.demo_training.clip_set import Clip, find_clips
from latentsync.demo_training.image_augmentation import jitter_colour
from latentsync.demo_training.loop import TrainOptions, place_channels_last, train
from latentsync.demo_training.optimizer import WeightAverage, build_optimizers
from latentsync.demo_training.textures import texture_bank
from latentsync.face.mask import keep_mask

logger = logging.getLogger(__name__)

RESOLUTION = 128
_LATENT_CHANNELS = 8
_CHANNELS = (16, 32, 64, 112)
_START_LOG_VARIANCE = -6.0
_NUM_TEXTURES = 1500
_SMALL_CROPS_UNTIL = 0.55
_KL_WEIGHT = 3e-5


def build_vae() -> AutoencoderKL:
    """Untrained demo VAE; its posterior starts nearly deterministic."""
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * len(_CHANNELS),
        "up_block_types": ("UpDecoderBlock2D",) * len(_CHANNELS),
        "block_out_channels": _CHANNELS,
        "layers_per_block": 1,
        "latent_channels": _LATENT_CHANNELS,
        "norm_num_groups": 1,
        "sample_size": RESOLUTION,
        "mid_block_add_attention": False,
    }
    vae = cast(AutoencoderKL, AutoencoderKL.from_config(config))
    with torch.no_grad():
        parameters = dict(vae.named_parameters())
        parameters["encoder.conv_out.bias"][_LATENT_CHANNELS:] = _START_LOG_VARIANCE
        parameters["quant_conv.weight"].copy_(torch.eye(2 * _LATENT_CHANNELS)[..., None, None])
        parameters["quant_conv.bias"].zero_()
    return vae


def encode(vae: AutoencoderKL, images: torch.Tensor) -> DiagonalGaussianDistribution:
    """Images (n, 3, h, w) in [-1, 1] to the distribution of their latents, not yet scaled."""
    return cast(AutoencoderKLOutput, vae.encode(images)).latent_dist


def decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Latents, not scaled, to images about [-1, 1]."""
    return cast(DecoderOutput, vae.decode(cast(torch.FloatTensor, latents))).sample


class ImageBatches:
    """Random training images: jittered crops, masked crops, textures and mixtures of them."""

    def __init__(self, clips: list[Clip], seed: int, num_textures: int = _NUM_TEXTURES):
        self.clips = clips
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.textures = texture_bank(seed, num_textures, RESOLUTION)
        self.mask = keep_mask(RESOLUTION)
        self.weight = mouth_weight(RESOLUTION)

    def next(self, batch_size: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, 3, size, size) in [-1, 1] and pixel weights (n, 1, size, size)."""
        crops = np.stack([self._picture() for _ in range(batch_size)])
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        jittered = jitter_colour(images, self.generator)
        plain = torch.rand(batch_size, generator=self.generator) < 0.35
        images = torch.where(plain[:, None, None, None], images, jittered) * 2 - 1
        masked = torch.rand(batch_size, generator=self.generator) < 0.25
        images[masked] *= self.mask
        if size == RESOLUTION:
            return images, self.weight.expand(batch_size, -1, -1, -1)
        corners = self.rng.integers(0, RESOLUTION - size + 1, (batch_size, 2))
        windows = [(slice(None), slice(y, y + size), slice(x, x + size)) for y, x in corners.tolist()]
        small = torch.stack([image[window] for image, window in zip(images, windows, strict=True)])
        return small, torch.stack([self.weight[window] for window in windows])

    def _picture(self) -> np.ndarray:
        """One picture (R, R, 3) uint8: a crop (80 %), a texture (12 %), a crop with a piece of texture on it (8 %)."""
        kind = self.rng.random()
        texture = self.textures[self.rng.integers(len(self.textures))]
        if kind < 0.12:
            return texture
        crops = self.clips[self.rng.integers(len(self.clips))].crops
        crop = np.array(crops[self.rng.integers(len(crops))])
        if self.rng.random() < 0.5:
            crop = crop[:, ::-1]
        if kind < 0.2:
            (y0, y1), (x0, x1) = np.sort(self.rng.integers(0, RESOLUTION + 1, (2, 2)), axis=1)
            crop = crop.copy()
            crop[y0:y1, x0:x1] = texture[y0:y1, x0:x1]
        return crop


def mouth_weight(resolution: int) -> torch.Tensor:
    """Pixel weights (1, R, R): 1, and a smooth bump to 2.5 about the place where aligned crops have the mouth."""
    y, x = torch.meshgrid(torch.linspace(0, 1, resolution), torch.linspace(0, 1, resolution), indexing="ij")
    return (1 + 1.5 * torch.exp(-(((x - 0.5) / 0.2) ** 2 + ((y - 0.68) / 0.16) ** 2)))[None]


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted L1 and L2, gradients, chroma, and coarse means at a quarter and an eighth of the size.

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


def train_vae(options: TrainOptions) -> None:
    """Trains on the clips below `options.data` and writes the diffusers folder `<out>/vae`."""
    torch.manual_seed(options.seed)
    vae = build_vae()
    if options.initial is not None:
        vae.load_state_dict(AutoencoderKL.from_pretrained(options.initial).state_dict())
    place_channels_last(vae, options.device)
    average = WeightAverage(vae, 0.995)
    batches = ImageBatches(find_clips(options.data), options.seed)
    probe, _ = batches.next(48, RESOLUTION)

    def step(fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        small = options.initial is None and fraction < _SMALL_CROPS_UNTIL
        images, weight = batches.next(32 if small else 12, 64 if small else RESOLUTION)
        images = images.to(options.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(options.device.type, torch.bfloat16):
            posterior = encode(vae, images)
            output = decode(vae, posterior.sample())
        loss = reconstruction_loss(output.float(), images, weight.to(options.device))
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return loss + _KL_WEIGHT * kl, {"psnr": batch_psnr_db(output, images), "kl": float(kl.detach())}

    def save(index: int) -> None:
        save_vae(average.state, latent_scale(average.state, probe), options.out / "vae")

    lr_scale = 1.0 if options.initial is None else 0.4
    optimizers = build_optimizers(vae, lr=2e-3 * lr_scale, matrix_lr=8e-3 * lr_scale)
    train(options, vae, optimizers, step, save, average, name="vae")


def train_vae_decoder(options: TrainOptions) -> None:
    """Goes on with the decoder of `<out>/vae` alone: the latents stay, so a U-Net can train on them meanwhile."""
    torch.manual_seed(options.seed)
    folder = options.out / "vae"
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    scale = float(vae.config["scaling_factor"])
    place_channels_last(vae, options.device)
    for name, parameter in vae.named_parameters():
        parameter.requires_grad_(name.startswith(("decoder.", "post_quant_conv.")))
    average = WeightAverage(vae, 0.995)
    batches = ImageBatches(find_clips(options.data), options.seed)

    def step(fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        images, weight = batches.next(16, RESOLUTION)
        images = images.to(options.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(options.device.type, torch.bfloat16):
            with torch.no_grad():
                latents = encode(vae, images).sample()
            output = decode(vae, latents)
        loss = reconstruction_loss(output.float(), images, weight.to(options.device))
        return loss, {"psnr": batch_psnr_db(output, images)}

    optimizers = build_optimizers(vae, lr=1e-3, matrix_lr=4e-3)
    train(options, vae, optimizers, step, lambda index: save_vae(average.state, scale, folder), average, "vae_decoder")


def batch_psnr_db(output: torch.Tensor, target: torch.Tensor) -> float:
    """Mean PSNR of images (n, 3, h, w) in [-1, 1]."""
    squared = (output.detach().float() - target).square().mean(dim=(1, 2, 3)) / 4
    return float(-10 * squared.log10().mean())


@torch.no_grad()
def latent_scale(state: dict[str, torch.Tensor], probe: torch.Tensor) -> float:
    """The scaling factor that gives the latents of the images `probe` unit deviation."""
    vae = build_vae()
    vae.load_state_dict(state)
    return round(1 / float(encode(vae, probe).mean.std()), 5)


def save_vae(state: dict[str, torch.Tensor], scaling_factor: float, folder: Path) -> None:
    """Writes the VAE in fp16 with its scaling factor; its two files appear whole."""
    vae = build_vae()
    vae.load_state_dict(state)
    vae.register_to_config(scaling_factor=scaling_factor)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
        vae.half().save_pretrained(fresh)
        for file in Path(fresh).iterdir():
            file.chmod(0o644)
            os.replace(file, folder / file.name)
    logger.info("wrote %s, scaling factor %.4f", folder, scaling_factor)
