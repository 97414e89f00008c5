"""The demo VAE: a small AutoencoderKL for 128 px crops, factor 8, that keeps colours.

One norm group: a group norm removes each group's mean and scale, and with few channels a group the colour with it.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import nn

logger = logging.getLogger(__name__)

RESOLUTION = 128
_LATENT_CHANNELS = 8
_CHANNELS = (16, 32, 64, 112)
_START_LOG_VARIANCE = -6.0


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


class TrainedVae(nn.Module):
    """A VAE whose forward gives all that its loss looks at.

    Its convolution weights lie channels last: the faster order on a CPU in bfloat16.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        for parameter in vae.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @property
    def trains_encoder(self) -> bool:
        """Whether the latents change."""
        named = self.vae.named_parameters()
        return any(part.requires_grad for name, part in named if name.startswith(("encoder.", "quant_conv.")))

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images (n, 3, h, w) in [-1, 1] -> reconstruction of latents drawn with `noise`, their mean, log variance.

        `noise` and the latents, not scaled, are (n, L, h / 8, w / 8).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_encoder):
            latents = encode(self.vae, images)
        drawn = latents.mean + latents.std * noise.to(latents.mean)
        return decode(self.vae, drawn), latents.mean, latents.logvar


def encode(vae: AutoencoderKL, images: torch.Tensor) -> DiagonalGaussianDistribution:
    """Images (n, 3, h, w) in [-1, 1] to the distribution of their latents, not yet scaled."""
    return cast(AutoencoderKLOutput, vae.encode(images)).latent_dist


def decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Latents, not scaled, to images about [-1, 1]."""
    return cast(DecoderOutput, vae.decode(cast(torch.FloatTensor, latents))).sample


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, probe: torch.Tensor) -> float:
    """The scaling factor that gives the latents of the images `probe` (n, 3, h, w) unit deviation."""
    return round(1 / float(encode(vae, probe).mean.std()), 5)


def vae_with(state_dict: Mapping[str, torch.Tensor], like: AutoencoderKL) -> AutoencoderKL:
    """A VAE of the size of `like` with these weights, float32 on the CPU."""
    config = {name: value for name, value in like.config.items() if not name.startswith("_")}  # no folder's name
    vae = cast(AutoencoderKL, AutoencoderKL.from_config(config))
    vae.load_state_dict(state_dict)
    return vae


def save_vae(vae: AutoencoderKL, scaling_factor: float, folder: Path) -> None:
    """Writes the diffusers folder in fp16 with its scaling factor; the VAE itself becomes fp16."""
    vae.register_to_config(scaling_factor=scaling_factor)
    vae.half().save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    logger.info("wrote %s, scaling factor %.4f", folder, scaling_factor)
