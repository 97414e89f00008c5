"""Down, mid and up blocks of the U-Net, and their convolutional layers.

A layer of a block is a ResNet block, then a spatial transformer, then a motion module.

Tensors are frames (b f, c, h, w), channels last in memory. The same memory read as (b, c, f, h, w) is torch's
channels-last-3d format, and read as (b f, h w, c) it is the transformer's token layout: the views below copy nothing.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from latentsync.models.attention import AudioKeysValues, MotionModule, SpatialTransformer
from latentsync.models.cpu_inference import convolve
from latentsync.models.unet_config import UNetConfig


class FrameGroupNorm(nn.GroupNorm):
    """GroupNorm with statistics over a whole window (f, h, w) instead of each frame."""

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Normalize (b f, c, h, w); the frames of a window are consecutive in the first dimension."""
        windows = x.unflatten(0, (-1, num_frames)).transpose(1, 2)
        windows = F.group_norm(windows, self.num_groups, self.weight, self.bias, self.eps)
        return windows.transpose(1, 2).flatten(0, 1)


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions after GroupNorm and SiLU, with the timestep embedding added between them, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, num_groups: int):
        super().__init__()
        self.norm1 = FrameGroupNorm(num_groups, in_channels, eps=1e-5)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = FrameGroupNorm(num_groups, out_channels, eps=1e-5)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: torch.Tensor, time: torch.Tensor, num_frames: int) -> torch.Tensor:
        """(b f, c, h, w) and timestep embedding (b, t) -> (b f, c', h, w)."""
        time = self.time_emb_proj(F.silu(time)).repeat_interleave(num_frames, dim=0)
        hidden = convolve(self.conv1, _silu(self.norm1(x, num_frames)))
        hidden = convolve(self.conv2, _silu(self.norm2(hidden + time[:, :, None, None], num_frames)))
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def _silu(x: torch.Tensor) -> torch.Tensor:
    """Apply SiLU to a result that nothing else reads, in place unless the backward pass needs it."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class Downsample(nn.Module):
    """Strided convolution that halves height and width."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b f, c, h, w) -> (b f, c, h/2, w/2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by 2, then a convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b f, c, h, w) -> (b f, c, 2 h, 2 w)."""
        return convolve(self.conv, F.interpolate(x, scale_factor=2.0, mode="nearest"))


class LayerStack(nn.Module):
    """Base of the three kinds of blocks: lists of ResNet blocks, transformers and motion modules, run layer by layer.

    The model's `enable_gradient_checkpointing` sets `gradient_checkpointing`: the backward pass then recomputes a
    layer's activations instead of storing them.
    """

    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Any]

    def __init__(self, config: UNetConfig):
        super().__init__()
        self._config = config
        self.resnets = nn.ModuleList()
        self.attentions = nn.ModuleList()
        self.motion_modules = nn.ModuleList()

    def add_resnet(self, in_channels: int, out_channels: int) -> None:
        """Append a ResNet block."""
        time_channels = 4 * self._config.block_out_channels[0]
        self.resnets.append(ResnetBlock(in_channels, out_channels, time_channels, self._config.norm_num_groups))

    def add_attention(self, channels: int) -> None:
        """Append a spatial transformer."""
        config = self._config
        audio_width = config.cross_attention_dim if config.add_audio_layer else None
        self.attentions.append(
            SpatialTransformer(channels, config.attention_head_dim, audio_width, config.norm_num_groups)
        )

    def add_motion(self, channels: int) -> None:
        """Append a motion module."""
        config = self._config
        self.motion_modules.append(
            MotionModule(channels, config.attention_head_dim, config.norm_num_groups, config.motion_module_max_frames)
        )

    def run_layer(
        self, index: int, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int
    ) -> torch.Tensor:
        """Run layer `index`: ResNet block, then transformer and motion module if this block has them."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(self._layer, index, x, time, audio, num_frames)
        return self._layer(index, x, time, audio, num_frames)

    def _layer(
        self, index: int, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int
    ) -> torch.Tensor:
        x = self.resnets[index](x, time, num_frames)
        if self.attentions:
            attention = cast(SpatialTransformer, self.attentions[index])
            x = attention(x, audio.of_layer(attention.audio_layer))
        if self.motion_modules:
            x = self.motion_modules[index](x, num_frames)
        return x


class DownBlock(LayerStack):
    """Layers of one encoder level, and a downsampling unless it is the coarsest level."""

    def __init__(self, config: UNetConfig, level: int):
        super().__init__(config)
        channels = config.block_out_channels[level]
        in_channels = config.block_out_channels[max(level - 1, 0)]
        for index in range(config.layers_per_block):
            self.add_resnet(channels if index else in_channels, channels)
            if config.has_attention(level):
                self.add_attention(channels)
            if config.has_motion(level, is_decoder=False):
                self.add_motion(channels)
        self.downsamplers = nn.ModuleList([Downsample(channels)] if level < config.num_levels - 1 else [])

    def forward(
        self, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(b f, c, h, w) -> output before downsampling, and the skips for the up blocks: the output of every layer."""
        skips = []
        for index in range(len(self.resnets)):
            x = self.run_layer(index, x, time, audio, num_frames)
            skips.append(x)
        return x, skips

    def downsample(self, x: torch.Tensor) -> torch.Tensor:
        """(b f, c, h, w) -> the input of the next level (b f, c, h/2, w/2)."""
        for downsampler in self.downsamplers:
            x = downsampler(x)
        return x


class MidBlock(LayerStack):
    """ResNet block, transformer, optional motion module and ResNet block at the coarsest level."""

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        channels = config.block_out_channels[-1]
        self.add_resnet(channels, channels)
        self.add_attention(channels)
        if config.use_motion_module and config.motion_module_mid_block:
            self.add_motion(channels)
        self.add_resnet(channels, channels)

    def forward(self, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int) -> torch.Tensor:
        """(b f, c, h, w) -> the same shape."""
        x = self.run_layer(0, x, time, audio, num_frames)
        return self.resnets[1](x, time, num_frames)


class UpBlock(LayerStack):
    """Layers of one decoder level, each concatenated with a skip from the encoder, then an upsampling."""

    def __init__(self, config: UNetConfig, level: int):
        super().__init__(config)
        levels = config.block_out_channels
        channels, finer, coarser = levels[level], levels[max(level - 1, 0)], levels[min(level + 1, len(levels) - 1)]
        num_layers = config.layers_per_block + 1
        for index in range(num_layers):
            skip_channels = channels if index < num_layers - 1 else finer
            self.add_resnet((channels if index else coarser) + skip_channels, channels)
            if config.has_attention(level):
                self.add_attention(channels)
            if config.has_motion(level, is_decoder=True):
                self.add_motion(channels)
        self.upsamplers = nn.ModuleList([Upsample(channels)] if level else [])

    def forward(
        self,
        x: torch.Tensor,
        skips: list[torch.Tensor],
        time: torch.Tensor,
        audio: AudioKeysValues,
        num_frames: int,
    ) -> torch.Tensor:
        """(b f, c, h, w) -> (b f, c', 2 h, 2 w), or (b f, c', h, w) at the finest level; pops its skips."""
        for index in range(len(self.resnets)):
            x = torch.cat([x, skips.pop()], dim=1)
            x = self.run_layer(index, x, time, audio, num_frames)
        for upsampler in self.upsamplers:
            x = upsampler(x)
        return x
