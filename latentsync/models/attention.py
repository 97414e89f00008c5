"""Spatial transformer of the U-Net: self-attention within a frame, cross-attention to the frame's audio tokens."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from torch import nn


class Attention(nn.Module):
    """Multi-head attention; `to_out` is a list because the published weights name its projection `to_out.0`."""

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
        """(n, t, width) attends to the given keys and values, or to itself."""
        keys, values = self.keys_values(x) if keys_values is None else keys_values
        attended = F.scaled_dot_product_attention(self._split_heads(self.to_q(x)), keys, values)
        return self.to_out[0](attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


@dataclass(frozen=True)
class AudioKeysValues:
    """Keys and values of the audio for every cross-attention of one U-Net, each (b f, heads, s, channels / heads).

    They do not depend on the timestep, so a window computes them once and uses them in every denoising step.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]


class AudioCrossAttention(Attention):
    """Cross-attention that finds its keys and values by its position in the network."""

    def __init__(self, width: int, num_heads: int, audio_width: int):
        super().__init__(width, num_heads, audio_width)
        self.layer_index = 0


class TransformerBlock(nn.Module):
    """x + self-attention, x + audio cross-attention, x + GEGLU (exact GELU), each on normalised x."""

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
    """One transformer block over the pixels of each frame, between 1x1 convolutions, with an outer residual."""

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
