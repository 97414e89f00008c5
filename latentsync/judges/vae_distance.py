"""A stand-in for LPIPS without a download: the same distance on the features of an autoencoder's encoder.

It is no measure of human perception: the features are those that reconstruction needs. It sees blur and displaced
edges, which a plain pixel error hardly does.
"""

import copy
from typing import cast

import torch
from diffusers.models.autoencoders.vae import Encoder
from torch import nn
from torch.nn import functional as F


class VaeEncoderDistance(nn.Module):
    """Distance of channel-normalised features before each halving of the encoder, frozen, in float32.

    Args:
        encoder: of a diffusers AutoencoderKL with frozen weights; shared where it is in float32, else copied to it.
    """

    def __init__(self, encoder: Encoder):
        super().__init__()
        is_float32 = encoder.conv_in.weight.dtype == torch.float32
        self.encoder = encoder if is_float32 else copy.deepcopy(encoder).float()

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Images and targets (n, 3, h, w) in [-1, 1] to distances (n,): 0 for equals, at most 4.

        Per level the squared distance of unit feature vectors, averaged over the picture; then the mean over levels.
        """
        with torch.no_grad():
            expected = self.features(targets)
        levels = [
            (F.normalize(seen, dim=1) - F.normalize(real, dim=1)).square().sum(1).mean((1, 2))
            for seen, real in zip(self.features(images), expected, strict=True)
        ]
        return torch.stack(levels).mean(0)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """One (n, c, h, w) float32 a level, the first at the size of the images."""
        hidden = self.encoder.conv_in(images.float())
        levels = []
        for block in self.encoder.down_blocks:
            for resnet in cast(nn.ModuleList, block.resnets):
                hidden = resnet(hidden, None)
            levels.append(hidden)
            for downsampler in cast(nn.ModuleList, block.downsamplers or []):
                hidden = downsampler(hidden)
        return levels
