"""Sizes of networks with random weights: the published ones, and tiny ones for tests. Loads no network library."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SD_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
"""Configuration of stabilityai/sd-vae-ft-mse."""

WHISPER_TINY_DIMENSIONS = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 384,
    "n_audio_head": 6,
    "n_audio_layer": 4,
    "n_vocab": 51865,
    "n_text_ctx": 448,
    "n_text_state": 384,
    "n_text_head": 6,
    "n_text_layer": 4,
}


@dataclass(frozen=True)
class WeightSizes:
    """Sizes of the three networks of inference; the defaults are the published ones.

    Attributes:
        unet: values of the `model:` section that differ from the published configuration.
        vae: configuration of the diffusers AutoencoderKL.
        whisper: dimensions of openai-whisper's model.
    """

    unet: Mapping[str, Any] = field(default_factory=dict)
    vae: Mapping[str, Any] = field(default_factory=lambda: SD_VAE)
    whisper: Mapping[str, int] = field(default_factory=lambda: WHISPER_TINY_DIMENSIONS)


PUBLISHED = WeightSizes()
TINY = WeightSizes(
    unet={
        "cross_attention_dim": 16,
        "block_out_channels": [16, 32],
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "layers_per_block": 1,
    },
    vae={**SD_VAE, "block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1},
    whisper={
        **WHISPER_TINY_DIMENSIONS,
        **{"n_audio_state": 16, "n_audio_head": 2, "n_audio_layer": 4},
        **{"n_vocab": 51865, "n_text_ctx": 8, "n_text_state": 16, "n_text_head": 2, "n_text_layer": 1},
    },
)
