"""Down, mid and up blocks of the U-Net. A layer is a ResNet block, then a spatial transformer, then a motion module."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from latentsync.models.attention import AudioKeysValues, SpatialTransformer
from latentsync.models.motion_module import MotionModule
from latentsync.models.resnet import Downsample, ResnetBlock, Upsample
from latentsync.models.unet_config import UNetConfig


class LayerStack(nn.Module):
    """What the three kinds of block share: lists of ResNets, transformers and motion modules, and how one layer runs.

    `gradient_checkpointing` is switched by the model's `enable_gradient_checkpointing`: then a layer's activations
    are computed again in the backward pass instead of being kept.
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
        """Appends a ResNet block."""
        time_channels = 4 * self._config.block_out_channels[0]
        self.resnets.append(ResnetBlock(in_channels, out_channels, time_channels, self._config.norm_num_groups))

    def add_attention(self, channels: int) -> None:
        """Appends a spatial transformer."""
        config = self._config
        audio_width = config.cross_attention_dim if config.add_audio_layer else None
        self.attentions.append(
            SpatialTransformer(channels, config.attention_head_dim, audio_width, config.norm_num_groups)
        )

    def add_motion(self, channels: int) -> None:
        """Appends a motion module."""
        config = self._config
        self.motion_modules.append(
            MotionModule(channels, config.attention_head_dim, config.norm_num_groups, config.motion_module_max_frames)
        )

    def run_layer(
        self, index: int, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int
    ) -> torch.Tensor:
        """ResNet, transformer and motion module number `index`, those of them that this block has."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(self._layer, index, x, time, audio, num_frames)
        return self._layer(index, x, time, audio, num_frames)

    def _layer(
        self, index: int, x: torch.Tensor, time: torch.Tensor, audio: AudioKeysValues, num_frames: int
    ) -> torch.Tensor:
        x = self.resnets[index](x, time, num_frames)
        if self.attentions:
            x = self.attentions[index](x, audio)
        if self.motion_modules:
            x = self.motion_modules[index](x, num_frames)
        return x


class DownBlock(LayerStack):
    """Layers of one level on the way down, then a halving unless it is the last level."""

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
        """(b f, c, h, w) -> the output before halving, and the output of every layer for the up blocks."""
        skips = []
        for index in range(len(self.resnets)):
            x = self.run_layer(index, x, time, audio, num_frames)
            skips.append(x)
        return x, skips

    def halve(self, x: torch.Tensor) -> torch.Tensor:
        """What the next level begins with: (b f, c, h, w) -> (b f, c, h/2, w/2)."""
        for downsampler in self.downsamplers:
            x = downsampler(x)
        return x


class MidBlock(LayerStack):
    """ResNet, transformer, optional motion module, ResNet at the coarsest level."""

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
    """Layers of one level on the way up, each fed with one output of the way down, then a doubling."""

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
