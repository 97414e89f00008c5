"""Attention layers of the U-Net: spatial transformer and motion module.

The spatial transformer attends within a frame and to the frame's audio tokens; the motion module (AnimateDiff, arXiv
2307.04725) attends over the frames of a window at every pixel.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from torch import nn


class Attention(nn.Module):
    """Multi-head attention; `to_out` is a list because its published parameters are named `to_out.0`."""

    def __init__(self, width: int, num_heads: int, context_width: int | None = None, bias: bool = False):
        super().__init__()
        self.num_heads = num_heads
        context_width = context_width or width
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context_width, width, bias=bias)
        self.to_v = nn.Linear(context_width, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def keys_values(self, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Context (n, s, d) -> keys and values, each (n, heads, s, width / heads)."""
        return self._split_heads(self.to_k(context)), self._split_heads(self.to_v(context))

    def forward(self, x: torch.Tensor, keys_values: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        """(n, t, width) -> the same shape; attends to the given keys and values, or to itself."""
        keys, values = self.keys_values(x) if keys_values is None else keys_values
        attended = F.scaled_dot_product_attention(self._split_heads(self.to_q(x)), keys, values)
        return self.to_out[0](attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


@dataclass(frozen=True)
class AudioKeysValues:
    """Keys and values of the audio for every cross-attention of a U-Net, each (b f, heads, s, channels / heads).

    They do not depend on the timestep, so they are computed once per window for all denoising steps.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]


class AudioCrossAttention(Attention):
    """Cross-attention to audio; `layer_index` selects its entry of `AudioKeysValues.layers`."""

    def __init__(self, width: int, num_heads: int, audio_width: int):
        super().__init__(width, num_heads, audio_width)
        self.layer_index = 0


class TransformerBlock(nn.Module):
    """Self-attention, audio cross-attention and GEGLU (exact GELU), each x + layer(LayerNorm(x))."""

    def __init__(self, width: int, num_heads: int, audio_width: int | None):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, num_heads)
        if audio_width is not None:
            self.norm2 = nn.LayerNorm(width)
            self.attn2 = AudioCrossAttention(width, num_heads, audio_width)
        self.has_audio = audio_width is not None
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, activation_fn="geglu")

    def forward(self, x: torch.Tensor, audio: AudioKeysValues) -> torch.Tensor:
        """Tokens (b f, h w, c) -> the same shape."""
        x = x + self.attn1(self.norm1(x))
        if self.has_audio:
            x = x + self.attn2(self.norm2(x), audio.layers[self.attn2.layer_index])
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer block over the pixels of each frame, between 1x1 convolutions, with an outer residual."""

    def __init__(self, channels: int, num_heads: int, audio_width: int | None, num_groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, num_heads, audio_width)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor, audio: AudioKeysValues) -> torch.Tensor:
        """(b f, c, h, w) -> the same shape."""
        tokens = self.proj_in(self.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, audio)
        return x + self.proj_out(tokens.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))


class PositionEncoding(nn.Module):
    """Sinusoidal frame positions: sin in even channels, cos in odd ones; a buffer, saved with the weights."""

    pe: torch.Tensor

    def __init__(self, width: int, max_frames: int):
        super().__init__()
        frames = torch.arange(max_frames, dtype=torch.float32)[:, None]
        angles = frames * torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
        encoding = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
        self.register_buffer("pe", encoding[None].contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the positions to (n, f, c)."""
        return x + self.pe[:, : x.shape[1]].to(x.dtype)


class TemporalAttention(Attention):
    """Self-attention over frames; queries, keys and values include the frame position."""

    def __init__(self, width: int, num_heads: int, max_frames: int):
        super().__init__(width, num_heads)
        self.pos_encoder = PositionEncoding(width, max_frames)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, f, c) -> the same shape."""
        return super().forward(self.pos_encoder(x))


class TemporalTransformerBlock(nn.Module):
    """Two temporal self-attentions and a GEGLU, each x + layer(LayerNorm(x))."""

    def __init__(self, width: int, num_heads: int, max_frames: int):
        super().__init__()
        self.attention_blocks = nn.ModuleList([TemporalAttention(width, num_heads, max_frames) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.ff = FeedForward(width, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, f, c) -> the same shape."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x))
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Module):
    """Per-frame GroupNorm, linear layer, temporal block over f at each pixel, linear layer initialized to zero."""

    def __init__(self, channels: int, num_heads: int, num_groups: int, max_frames: int):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalTransformerBlock(channels, num_heads, max_frames)])
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """(b f, c, h, w) -> the same shape."""
        height, width = x.shape[2:]
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(-1, num_frames, height * width, x.shape[1])
        tokens = self.proj_in(tokens.transpose(1, 2).flatten(0, 1))
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = self.proj_out(tokens).unflatten(0, (-1, height, width))
        return x + tokens.permute(0, 3, 4, 1, 2).flatten(0, 1)


class MotionModule(nn.Module):
    """Wrapper that gives the temporal transformer its published name."""

    def __init__(self, channels: int, num_heads: int, num_groups: int, max_frames: int):
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, num_heads, num_groups, max_frames)

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """(b f, c, h, w) -> the same shape."""
        return self.temporal_transformer(x, num_frames)
