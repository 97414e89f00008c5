"""Motion module: every pixel attends to itself over the frames of the window (AnimateDiff, arXiv 2307.04725)."""

import math

import torch
from diffusers.models.attention import FeedForward
from torch import nn

from latentsync.models.attention import Attention


class PositionEncoding(nn.Module):
    """Sinusoidal frame positions: even channels sin, odd channels cos; a buffer, stored with the weights."""

    pe: torch.Tensor

    def __init__(self, width: int, max_frames: int):
        super().__init__()
        frames = torch.arange(max_frames, dtype=torch.float32)[:, None]
        angles = frames * torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
        encoding = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
        self.register_buffer("pe", encoding[None].contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the positions to (n, f, c)."""
        return x + self.pe[:, : x.shape[1]].to(x.dtype)


class TemporalAttention(Attention):
    """Self-attention over frames whose queries, keys and values all know the frame's position."""

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
    """Per-frame GroupNorm, linear in, one temporal block over f at each pixel, linear out (zero at the start)."""

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
