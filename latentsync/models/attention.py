"""Attention layers of the U-Net: spatial transformer and motion module.

The spatial transformer attends within a frame and to the frame's audio tokens; the motion module (AnimateDiff, arXiv
2307.04725) attends over the frames of a window at every pixel.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from torch import nn

from latentsync.models.cpu_inference import add_feed_forward, add_linear, chunk_ranges, is_fused, linear


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

    def forward(
        self, residual: torch.Tensor, x: torch.Tensor, keys_values: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return residual + attention(x), all (n, t, width); attends to the given keys and values, or to x itself."""
        keys, values = self.keys_values(x) if keys_values is None else keys_values
        attended = F.scaled_dot_product_attention(self._split_heads(self.to_q(x)), keys, values)
        return add_linear(residual, cast(nn.Linear, self.to_out[0]), attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


@dataclass(frozen=True)
class AudioKeysValues:
    """Keys and values of the audio for every cross-attention of a U-Net, each (b f, heads, s, channels / heads).

    They do not depend on the timestep, so they are computed once per window for all denoising steps.

    Attributes:
        layers: keys and values by `AudioCrossAttention.layer_index`; only one after `of_layer`.
        num_dropped: number of leading frames without audio, where keys and values are 0 and so is the attention.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    num_dropped: int = 0

    def of_layer(self, index: int) -> "AudioKeysValues":
        """Return the keys and values of one cross-attention; nothing if the U-Net has none."""
        return AudioKeysValues(self.layers[index : index + 1], self.num_dropped)

    def frames(self, start: int, stop: int) -> "AudioKeysValues":
        """Return the keys and values of frames [start, stop)."""
        layers = tuple((keys[start:stop], values[start:stop]) for keys, values in self.layers)
        return AudioKeysValues(layers, min(max(self.num_dropped - start, 0), stop - start))


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
        """Tokens (b f, h w, c) and the audio of this layer -> the same shape."""
        x = self.attn1(x, self.norm1(x))
        if self.has_audio and is_fused(x) and audio.num_dropped == len(x):
            x = x + cast(nn.Linear, self.attn2.to_out[0]).bias
        elif self.has_audio:
            x = self.attn2(x, self.norm2(x), audio.layers[0])
        return add_feed_forward(x, self.ff, self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer block over the pixels of each frame, between 1x1 convolutions, with an outer residual."""

    def __init__(self, channels: int, num_heads: int, audio_width: int | None, num_groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, num_heads, audio_width)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    @property
    def audio_layer(self) -> int:
        """Index of the layer in `AudioKeysValues.layers`; 0 without audio."""
        block = cast(TransformerBlock, self.transformer_blocks[0])
        return block.attn2.layer_index if block.has_audio else 0

    def forward(self, x: torch.Tensor, audio: AudioKeysValues) -> torch.Tensor:
        """(b f, c, h, w) and the audio of this layer -> the same shape."""
        if is_fused(x):
            return self._forward_in_chunks(x, audio)
        tokens = self.proj_in(self.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, audio)
        return x + self.proj_out(tokens.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))

    def _forward_in_chunks(self, x: torch.Tensor, audio: AudioKeysValues) -> torch.Tensor:
        """Compute `forward` for a few frames at a time."""
        result = torch.empty_like(x, memory_format=torch.channels_last)
        for start, stop in chunk_ranges(len(x), 4 * x[0].nbytes, audio.num_dropped):
            frames = x[start:stop].contiguous(memory_format=torch.channels_last)
            tokens = linear(self.proj_in, self.norm(frames).permute(0, 2, 3, 1).flatten(1, 2))
            for block in self.transformer_blocks:
                tokens = block(tokens, audio.frames(start, stop))
            tokens = add_linear(frames.permute(0, 2, 3, 1).flatten(1, 2), self.proj_out, tokens)
            result[start:stop] = tokens.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return result


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

    def forward(
        self, residual: torch.Tensor, x: torch.Tensor, keys_values: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return residual + attention(x), both (n, f, c)."""
        return super().forward(residual, self.pos_encoder(x), keys_values)


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
            x = attention(x, norm(x))
        return add_feed_forward(x, self.ff, self.ff_norm(x))


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
        if is_fused(x):
            return self._forward_in_chunks(x, num_frames)
        height, width = x.shape[2:]
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(-1, num_frames, height * width, x.shape[1])
        tokens = self.proj_in(tokens.transpose(1, 2).flatten(0, 1))
        for block in self.transformer_blocks:
            tokens = block(tokens)
        tokens = self.proj_out(tokens).unflatten(0, (-1, height, width))
        return x + tokens.permute(0, 3, 4, 1, 2).flatten(0, 1)

    def _forward_in_chunks(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Compute `forward` for a few pixels of a window at a time."""
        x = x.contiguous(memory_format=torch.channels_last)
        result = torch.empty_like(x)
        windows, normalized, results = (
            frames.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (-1, num_frames)).transpose(1, 2)
            for frames in (x, self.norm(x), result)
        )  # each (b, h w, f, c), views
        for window in range(len(windows)):
            for start, stop in chunk_ranges(windows.shape[1], 4 * windows[0, 0].nbytes):
                tokens = linear(self.proj_in, normalized[window, start:stop].contiguous())
                for block in self.transformer_blocks:
                    tokens = block(tokens)
                tokens = linear(self.proj_out, tokens)
                torch.add(windows[window, start:stop], tokens, out=results[window, start:stop])
        return result


class MotionModule(nn.Module):
    """Wrapper that gives the temporal transformer its published name."""

    def __init__(self, channels: int, num_heads: int, num_groups: int, max_frames: int):
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, num_heads, num_groups, max_frames)

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """(b f, c, h, w) -> the same shape."""
        return self.temporal_transformer(x, num_frames)
