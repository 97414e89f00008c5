"""StableSyncNet (arXiv 2412.09262): embeds windows of mouth frames and audio to measure their sync."""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from torch import nn

from latentsync.models.attention import Attention


@dataclass
class SyncEncoderConfig:
    """Configuration of the audio or the visual encoder.

    Attributes:
        in_channels: 1 for mel; frames x 3 for pixels, frames x 4 for latents.
        block_out_channels: channels of each residual block.
        downsample_factors: per block the [vertical, horizontal] stride of the convolution after it, or one number for
            both; 1 is no downsampling. Converted to pairs.
        attn_blocks: per block 1 if a self-attention follows, otherwise 0; empty for none.
        dropout: dropout probability of the residual blocks, in [0, 1).
        num_heads: attention heads.
        norm_num_groups: groups of every GroupNorm.
    """

    in_channels: int = 1
    block_out_channels: list[int] = field(default_factory=list)
    downsample_factors: list[Any] = field(default_factory=list)
    attn_blocks: list[int] = field(default_factory=list)
    dropout: float = 0.0
    num_heads: int = 8
    norm_num_groups: int = 32

    def __post_init__(self) -> None:
        num_blocks = len(self.block_out_channels)
        self.downsample_factors = [_factor_pair(factors) for factors in self.downsample_factors]
        if len(self.downsample_factors) != num_blocks or len(self.attn_blocks) not in (0, num_blocks):
            raise ValueError(
                f"a SyncNet encoder with {num_blocks} block_out_channels requires as many downsample_factors "
                "and as many attn_blocks (or none)"
            )
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"block_out_channels: {channels} is not a multiple of norm_num_groups {self.norm_num_groups}"
                )


def _factor_pair(factors: Any) -> list[int]:
    pair = [factors, factors] if isinstance(factors, int) else factors
    is_pair = isinstance(pair, list) and len(pair) == 2 and all(type(factor) is int for factor in pair)
    if not is_pair or min(pair) < 1:
        raise ValueError(f"downsample_factors must be pairs [vertical, horizontal] or numbers from 1, not {factors}")
    return pair


@dataclass
class SyncNetConfig:
    """The `model:` section of configs/syncnet/*.yaml: two encoders with embeddings of equal length."""

    audio_encoder: SyncEncoderConfig = field(default_factory=SyncEncoderConfig)
    visual_encoder: SyncEncoderConfig = field(default_factory=SyncEncoderConfig)


class SyncResidualBlock(nn.Module):
    """Two 3x3 convolutions after GroupNorm and SiLU with a shortcut, then a strided convolution."""

    def __init__(self, in_channels: int, out_channels: int, factors: tuple[int, int], dropout: float, num_groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(num_groups, in_channels, eps=1e-6)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(num_groups, out_channels, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        self.downsample_conv = nn.Conv2d(out_channels, out_channels, 3, stride=factors) if max(factors) > 1 else None
        self.padding = strided_padding(factors)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> (b, c', h / vertical, w / horizontal)."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden))))
        x = hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))
        return x if self.downsample_conv is None else self.downsample_conv(F.pad(x, self.padding))


def strided_padding(factors: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the zero padding (left, right, top, bottom) of a 3x3 convolution with stride (vertical, horizontal).

    A strided axis is padded at its end only, as in the encoder of Stable Diffusion's VAE.
    """
    vertical, horizontal = factors
    left, right = (1, 1) if horizontal == 1 else (0, 1)
    top, bottom = (1, 1) if vertical == 1 else (0, 1)
    return left, right, top, bottom


class SyncAttentionBlock(nn.Module):
    """Self-attention over the pixels of a feature map and a GEGLU, between 1x1 convolutions, with an outer residual."""

    def __init__(self, channels: int, num_heads: int, num_groups: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(num_groups, channels, eps=1e-6)
        self.conv_in = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.LayerNorm(channels)
        self.attn = Attention(channels, num_heads, bias=True)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.conv_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> the same shape."""
        tokens = self.conv_in(self.norm1(x)).flatten(2).transpose(1, 2)
        tokens = self.attn(tokens, self.norm2(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return x + self.conv_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class SyncEncoder(nn.Module):
    """Residual blocks, some followed by attention, that embed an input as one vector of unit length."""

    def __init__(self, config: SyncEncoderConfig):
        super().__init__()
        if not config.block_out_channels:
            raise ValueError("a SyncNet encoder requires at least one entry in block_out_channels")
        channels = config.block_out_channels[0]
        self.conv_in = nn.Conv2d(config.in_channels, channels, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        has_attention = config.attn_blocks or [0] * len(config.block_out_channels)
        levels = zip(config.block_out_channels, config.downsample_factors, has_attention, strict=True)
        for out_channels, (vertical, horizontal), attends in levels:
            self.down_blocks.append(
                SyncResidualBlock(
                    channels, out_channels, (vertical, horizontal), config.dropout, config.norm_num_groups
                )
            )
            if attends:
                self.down_blocks.append(SyncAttentionBlock(out_channels, config.num_heads, config.norm_num_groups))
            channels = out_channels
        self.norm_out = nn.GroupNorm(config.norm_num_groups, channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) -> (b, d) of unit length."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return F.normalize(F.relu(self.norm_out(x)).flatten(1), dim=1)


class StableSyncNet(nn.Module):
    """Visual and audio encoder; the cosine similarity of their embeddings is the probability of being in sync."""

    def __init__(self, config: SyncNetConfig):
        super().__init__()
        self.config = config
        self.audio_encoder = SyncEncoder(config.audio_encoder)
        self.visual_encoder = SyncEncoder(config.visual_encoder)

    def forward(self, frames: torch.Tensor, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed video and audio windows.

        Args:
            frames: (b, f 3, h, w) in [-1, 1], the lower half of f RGB frames stacked frame-major (or latents).
            mel: (b, 1, 80, columns), see `latentsync.audio.mel`.

        Returns:
            Video and audio embeddings (b, d) of unit length without negative entries: the cosine is in [0, 1].
        """
        return self.visual_encoder(frames), self.audio_encoder(mel)
