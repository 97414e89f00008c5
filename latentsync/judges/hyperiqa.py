"""hyperIQA (Su et al., "Blindly Assess Image Quality in the Wild Guided by a Self-Adaptive Hyper Network", CVPR 2020).

A ResNet-50 reads a picture; from its last map come the weights of a small network, made for this picture alone, that
turns features of all four stages into one score. Names are those of the published `koniq_pretrained.pkl`.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file

PICTURE_SIZE = 224
"""Side of the pictures it reads: its pools and linear layers fit no other."""

PUBLISHED_WEIGHTS = "checkpoints/auxiliary/koniq_pretrained.pkl"

_MAP_SIZE = 7
_FEATURE_WIDTH = 224
_HYPER_WIDTH = 112
_TARGET_WIDTHS = (_FEATURE_WIDTH, 112, 56, 28, 14)
"""Inputs of the per-picture layers 1 to 5; the last gives one number."""
_STAGE_WIDTHS = (256, 512, 1024, 2048)
_LOCAL_WIDTHS = (16, 32, 64)
_LOCAL_INPUTS = (1024, 512, 256)
_NUM_LOCAL = 16


class QualityBackbone(nn.Module):
    """ResNet-50 with what each of its stages says of the distortions in a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, stride=1)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, 6, stride=2)
        self.layer4 = _stage(1024, 512, 3, stride=2)
        self.lda1_pool, self.lda2_pool, self.lda3_pool = (
            nn.Sequential(nn.Conv2d(wide, narrow, 1, bias=False), nn.AvgPool2d(_MAP_SIZE))
            for wide, narrow in zip(_STAGE_WIDTHS, _LOCAL_WIDTHS, strict=False)
        )
        self.lda1_fc, self.lda2_fc, self.lda3_fc = (nn.Linear(width, _NUM_LOCAL) for width in _LOCAL_INPUTS)
        self.lda4_fc = nn.Linear(_STAGE_WIDTHS[-1], _FEATURE_WIDTH - len(_LOCAL_INPUTS) * _NUM_LOCAL)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (b, 3, 224, 224), normalised, to the last map (b, 2048, 7, 7) and the features (b, 224)."""
        hidden = F.max_pool2d(F.relu(self.bn1(self.conv1(pictures))), 3, stride=2, padding=1)
        first = self.layer1(hidden)
        second = self.layer2(first)
        third = self.layer3(second)
        last = self.layer4(third)
        features = [
            self.lda1_fc(self.lda1_pool(first).flatten(1)),
            self.lda2_fc(self.lda2_pool(second).flatten(1)),
            self.lda3_fc(self.lda3_pool(third).flatten(1)),
            self.lda4_fc(F.avg_pool2d(last, _MAP_SIZE).flatten(1)),
        ]
        return last, torch.cat(features, dim=1)


class HyperIqa(nn.Module):
    """The whole judge; fill it with `load_hyperiqa`."""

    def __init__(self) -> None:
        super().__init__()
        self.res = QualityBackbone()
        self.conv1 = nn.Sequential(
            *(nn.Conv2d(2048, 1024, 1), nn.ReLU()),
            *(nn.Conv2d(1024, 512, 1), nn.ReLU()),
            *(nn.Conv2d(512, _HYPER_WIDTH, 1), nn.ReLU()),
        )
        self.fc1w_conv, self.fc2w_conv, self.fc3w_conv, self.fc4w_conv = (
            nn.Conv2d(_HYPER_WIDTH, width * narrower // _MAP_SIZE**2, 3, padding=1)
            for width, narrower in pairwise(_TARGET_WIDTHS)
        )
        self.fc1b_fc, self.fc2b_fc, self.fc3b_fc, self.fc4b_fc = (
            nn.Linear(_HYPER_WIDTH, width) for width in _TARGET_WIDTHS[1:]
        )
        self.fc5w_fc = nn.Linear(_HYPER_WIDTH, _TARGET_WIDTHS[-1])
        self.fc5b_fc = nn.Linear(_HYPER_WIDTH, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (b, 3, 224, 224), normalised with ImageNet's mean and deviation, to scores (b,), about 0 to 100."""
        last, features = self.res(pictures)
        content = self.conv1(last)
        pooled = content.mean((2, 3))
        makers = (
            (self.fc1w_conv, self.fc1b_fc),
            (self.fc2w_conv, self.fc2b_fc),
            (self.fc3w_conv, self.fc3b_fc),
            (self.fc4w_conv, self.fc4b_fc),
        )
        hidden = features
        for make_weights, make_bias in makers:
            bias = make_bias(pooled)
            weights = make_weights(content).reshape(len(hidden), bias.shape[1], hidden.shape[1])
            hidden = torch.sigmoid(_per_picture(weights, hidden) + bias)
        return (_per_picture(self.fc5w_fc(pooled)[:, None], hidden) + self.fc5b_fc(pooled))[:, 0]


def load_hyperiqa(path: Path, device: torch.device | str = "cpu") -> HyperIqa:
    """Reads the published `koniq_pretrained.pkl`, a plain state dict, frozen, without running code from it.

    Args:
        path: the file.
        device: where the network goes.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network.
    """
    weights = read_weight_file(path, TRAINING_DOWNLOAD)
    with torch.device("meta"):
        network = HyperIqa()
    fill_network(network, weights, path)
    return network.float().to(device).eval().requires_grad_(False)


def _stage(in_channels: int, width: int, num_blocks: int, stride: int) -> nn.Sequential:
    """Bottleneck blocks; the first changes the size and has a convolution in its shortcut."""
    out_channels = width * Bottleneck.expansion
    shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
    further = (Bottleneck(out_channels, width) for _ in range(num_blocks - 1))
    return nn.Sequential(Bottleneck(in_channels, width, stride, shortcut), *further)


def _per_picture(weights: Tensor, inputs: Tensor) -> Tensor:
    """Weights (b, m, n), another matrix for each picture, times inputs (b, n): (b, m)."""
    return (weights @ inputs[..., None])[..., 0]
