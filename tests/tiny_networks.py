"""Tiny networks with deterministic weights."""

from diffusers import AutoencoderKL

from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from tests.golden_values import fill_deterministic


def tiny_vae(num_levels: int = 3, latent_channels: int = 4) -> AutoencoderKL:
    """Return a frozen VAE of factor 2 ** (num_levels - 1)."""
    vae = AutoencoderKL(
        block_out_channels=(8,) * num_levels,
        down_block_types=("DownEncoderBlock2D",) * num_levels,
        up_block_types=("UpDecoderBlock2D",) * num_levels,
        norm_num_groups=4,
        latent_channels=latent_channels,
        mid_block_add_attention=False,
    )
    return fill_deterministic(vae).eval().requires_grad_(False)


def tiny_unet() -> UNet3DConditionModel:
    """Return a U-Net with motion modules and audio tokens of width 16."""
    config = UNetConfig(
        cross_attention_dim=16,
        block_out_channels=[16, 32],
        attention_head_dim=2,
        norm_num_groups=4,
        layers_per_block=1,
        use_motion_module=True,
    )
    return fill_deterministic(UNet3DConditionModel.from_unet_config(config))
