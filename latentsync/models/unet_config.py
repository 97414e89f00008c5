"""Configuration of the U-Net: the `model:` section of configs/unet/*.yaml."""

from dataclasses import dataclass, field

_MAX_LEVELS = 10
_MAX_WIDTH = 1 << 16
_LARGEST = {
    "in_channels": _MAX_WIDTH,
    "out_channels": _MAX_WIDTH,
    "cross_attention_dim": _MAX_WIDTH,
    "layers_per_block": 64,
    "attention_head_dim": 1024,
    "motion_module_max_frames": 4096,
}
"""Limits far beyond any real network, so that a mistyped size fails at once instead of allocating memory."""


@dataclass
class UNetConfig:
    """Sizes and switches of the U-Net; the defaults are the published 256 px stage-1 network.

    Attributes:
        in_channels: noisy latents, mask, masked-image and reference latents: 3 L + 1 for L latent channels.
        out_channels: latent channels L of the predicted noise.
        cross_attention_dim: width d of an audio token (384 for Whisper tiny, 768 for small).
        block_out_channels: channels of each level, finest first; each further level halves height and width.
        attention_levels: levels with spatial transformers, 0 is the finest; None is all but the last, as in SD-1.5.
        layers_per_block: ResNet blocks per down block; an up block has one more.
        attention_head_dim: the *number* of attention heads (the published name of this key).
        norm_num_groups: groups of every GroupNorm.
        add_audio_layer: True if the spatial transformers have cross-attention to the audio.
        use_motion_module: True if motion modules follow the layers at `motion_module_resolutions`.
        motion_module_resolutions: downsampling factors (1, 2, 4, ...) of the levels with motion modules.
        motion_module_mid_block: True if the mid block has one too.
        motion_module_decoder_only: True if the down blocks have none.
        motion_module_max_frames: largest number of frames of the temporal position encoding.
    """

    in_channels: int = 13
    out_channels: int = 4
    cross_attention_dim: int = 384
    block_out_channels: list[int] = field(default_factory=lambda: [320, 640, 1280, 1280])
    attention_levels: list[int] | None = None
    layers_per_block: int = 2
    attention_head_dim: int = 8
    norm_num_groups: int = 32
    add_audio_layer: bool = True
    use_motion_module: bool = False
    motion_module_resolutions: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    motion_module_mid_block: bool = False
    motion_module_decoder_only: bool = False
    motion_module_max_frames: int = 24

    def __post_init__(self) -> None:
        for key, largest in _LARGEST.items():
            if not 1 <= getattr(self, key) <= largest:
                raise ValueError(f"model.{key} must be between 1 and {largest}, not {getattr(self, key)}")
        if not 1 <= len(self.block_out_channels) <= _MAX_LEVELS:
            raise ValueError(f"model.block_out_channels must list the channels of 1 to {_MAX_LEVELS} levels")
        for channels in self.block_out_channels:
            if not 1 <= channels <= _MAX_WIDTH:
                raise ValueError(f"model.block_out_channels: {channels} is not between 1 and {_MAX_WIDTH}")
            for key in ("norm_num_groups", "attention_head_dim"):
                if getattr(self, key) < 1 or channels % getattr(self, key):
                    raise ValueError(
                        f"model.block_out_channels: {channels} is not a multiple of {key} {getattr(self, key)}"
                    )
        unknown = set(self.attention_levels or []) - set(range(len(self.block_out_channels)))
        if unknown:
            raise ValueError(
                f"model.attention_levels contains level {min(unknown)}, which block_out_channels does not have"
            )

    @property
    def num_levels(self) -> int:
        """Number of resolution levels."""
        return len(self.block_out_channels)

    def has_attention(self, level: int) -> bool:
        """Return True if this level (0 is the finest) has spatial transformers."""
        levels = range(self.num_levels - 1) if self.attention_levels is None else self.attention_levels
        return level in levels

    def has_motion(self, level: int, is_decoder: bool) -> bool:
        """Return True if the down block of this level, or with `is_decoder` its up block, has motion modules."""
        if not self.use_motion_module or (self.motion_module_decoder_only and not is_decoder):
            return False
        return 2**level in self.motion_module_resolutions
