"""A U-Net of two levels that runs in milliseconds, and inputs for it."""

import torch

from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from tests.golden_values import det, fill_deterministic

AUDIO_WIDTH = 12


def tiny_config(**changes) -> UNetConfig:
    sizes = {
        "cross_attention_dim": AUDIO_WIDTH,
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "use_motion_module": True,
    }
    return UNetConfig(**{**sizes, **changes})


def tiny_unet(**changes) -> UNet3DConditionModel:
    return fill_deterministic(UNet3DConditionModel.from_unet_config(tiny_config(**changes)))


def tiny_inputs(
    batch: int = 2, frames: int = 3, size: int = 8, channels: int = 13
) -> tuple[torch.Tensor, torch.Tensor]:
    sample = det("tiny/sample", (batch, channels, frames, size, size))
    return sample, det("tiny/audio", (batch, frames, 5, AUDIO_WIDTH))
