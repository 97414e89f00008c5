"""Image quality by hyperIQA, a no-reference metric (Su et al., "Blindly Assess Image Quality in the Wild Guided by a
Self-Adaptive Hyper Network", CVPR 2020).

A ResNet-50 extracts features of all four stages. From its last feature map, a hyper network predicts the weights of a
small fully connected network for this image alone, which maps the features to one score. Parameter names are those of
the published `koniq_pretrained.pkl`.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file

IMAGE_SIZE = 224
"""Side of the input images in pixels; the pooling and linear layers fit no other size."""

CLIP_SIZE = 256
"""Shorter side, in pixels, to which frames are resized before their centre is cropped."""

PUBLISHED_WEIGHTS = "checkpoints/auxiliary/koniq_pretrained.pkl"

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_MAP_SIZE = 7
_FEATURE_WIDTH = 224
_HYPER_WIDTH = 112
_TARGET_WIDTHS = (_FEATURE_WIDTH, 112, 56, 28, 14)
"""Input widths of the predicted layers 1 to 5; the last has one output."""
_STAGE_WIDTHS = (256, 512, 1024, 2048)
_LOCAL_WIDTHS = (16, 32, 64)
_LOCAL_INPUTS = (1024, 512, 256)
_NUM_LOCAL = 16


class QualityBackbone(nn.Module):
    """ResNet-50 with a local distortion feature for each of its four stages."""

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

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized images (b, 3, 224, 224) to the last feature map (b, 2048, 7, 7) and features (b, 224)."""
        hidden = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2, padding=1)
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
    """hyperIQA: backbone, hyper network and the fully connected network that it parametrizes."""

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

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (b,), about 0 to 100, of images (b, 3, 224, 224) normalized with ImageNet's statistics."""
        last, features = self.res(images)
        content = self.conv1(last)
        pooled = content.mean((2, 3))
        layers = (
            (self.fc1w_conv, self.fc1b_fc),
            (self.fc2w_conv, self.fc2b_fc),
            (self.fc3w_conv, self.fc3b_fc),
            (self.fc4w_conv, self.fc4b_fc),
        )
        hidden = features
        for predict_weights, predict_bias in layers:
            bias = predict_bias(pooled)
            weights = predict_weights(content).reshape(len(hidden), bias.shape[1], hidden.shape[1])
            hidden = torch.sigmoid(_per_image_matmul(weights, hidden) + bias)
        return (_per_image_matmul(self.fc5w_fc(pooled)[:, None], hidden) + self.fc5b_fc(pooled))[:, 0]


def load_hyperiqa(path: Path, device: torch.device | str = "cpu") -> HyperIqa:
    """Load the published `koniq_pretrained.pkl` (a state dict) in evaluation mode with frozen parameters.

    Raises:
        CheckpointError: the file is missing, damaged, or contains another network.
    """
    weights = read_weight_file(path, TRAINING_DOWNLOAD)
    with torch.device("meta"):
        network = HyperIqa()
    fill_network(network, weights, path)
    return network.float().to(device).eval().requires_grad_(False)


class QualityScorer:
    """Scores face clips as published: the mean hyperIQA score of the first, middle and last frame.

    Args:
        network: from `load_hyperiqa`, or any module that maps images (b, 3, 224, 224) to scores (b,).
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def score(self, frames: NDArray[np.uint8]) -> float:
        """Return the mean quality of a clip, about 0 (bad) to 100 (good).

        Args:
            frames: (n, h, w, 3) RGB; see `preprocess_frames` for how they are resized and cropped.

        Raises:
            ValueError: there are no frames.
        """
        if len(frames) == 0:
            raise ValueError("quality needs at least one frame")
        chosen = np.stack([frames[index] for index in scored_frames(len(frames))])
        images = preprocess_frames(torch.from_numpy(chosen).to(self._device))
        return float(self._network(images).mean())


def scored_frames(num_frames: int) -> tuple[int, int, int]:
    """Return the indices of the frames that are scored: first, middle and last."""
    return 0, num_frames // 2, num_frames - 1


def preprocess_frames(frames: Tensor) -> Tensor:
    """Convert frames (n, h, w, 3) uint8 to network inputs (n, 3, 224, 224), normalized with ImageNet's statistics.

    Frames are resized to 256 px at the shorter side (bilinear, antialiased), then the centre 224 px are cropped.
    """
    images = frames.permute(0, 3, 1, 2).float() / 255
    height, width = images.shape[-2:]
    shorter = min(height, width)
    if shorter != CLIP_SIZE:
        size = (round(height * CLIP_SIZE / shorter), round(width * CLIP_SIZE / shorter))
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    top, left = ((side - IMAGE_SIZE) // 2 for side in images.shape[-2:])
    centre = images[..., top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
    mean, std = (centre.new_tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
    return (centre - mean) / std


def _stage(in_channels: int, width: int, num_blocks: int, stride: int) -> nn.Sequential:
    """Build bottleneck blocks; the first changes the size and has a convolution in its shortcut."""
    out_channels = width * Bottleneck.expansion
    shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
    further = (Bottleneck(out_channels, width) for _ in range(num_blocks - 1))
    return nn.Sequential(Bottleneck(in_channels, width, stride, shortcut), *further)


def _per_image_matmul(weights: Tensor, inputs: Tensor) -> Tensor:
    """Multiply inputs (b, n) by weights (b, m, n), one matrix per image; returns (b, m)."""
    return (weights @ inputs[..., None])[..., 0]
