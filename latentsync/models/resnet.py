"""Convolutional parts of the U-Net, working on frames: tensors are (b f, c, h, w), channels last in memory.

With channels last, the same memory read as (b, c, f, h, w) is torch's channels-last-3d format, and read as
(b f, h w, c) it is the transformer's token layout: the changes of view below copy nothing.
"""

import torch
import torch.nn.functional as F
from torch import nn


class FrameGroupNorm(nn.GroupNorm):
    """GroupNorm whose statistics run over a whole window (f, h, w), not over each frame alone."""

    def forward(self, x: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Normalises (b f, c, h, w), the frames of a window being neighbours in the first dimension."""
        windows = x.unflatten(0, (-1, num_frames)).transpose(1, 2)
        windows = F.group_norm(windows, self.num_groups, self.weight, self.bias, self.eps)
        return windows.transpose(1, 2).flatten(0, 1)


class ResnetBlock(nn.Module):
    """Two normalised 3x3 convolutions with the timestep added in between, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, num_groups: int):
        super().__init__()
        self.norm1 = FrameGroupNorm(num_groups, in_channels, eps=1e-5)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels)
        self.norm2 = FrameGroupNorm(num_groups, out_channels, eps=1e-5)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: torch.Tensor, time: torch.Tensor, num_frames: int) -> torch.Tensor:
        """(b f, c, h, w) and time (b, t) -> (b f, c', h, w)."""
        time = self.time_emb_proj(F.silu(time)).repeat_interleave(num_frames, dim=0)
        hidden = self.conv1(F.silu(self.norm1(x, num_frames)))
        hidden = self.conv2(F.silu(self.norm2(hidden + time[:, :, None, None], num_frames)))
        return hidden + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """Halves height and width with a strided convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b f, c, h, w) -> (b f, c, h/2, w/2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles height and width by repetition, then convolves."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b f, c, h, w) -> (b f, c, 2 h, 2 w)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
