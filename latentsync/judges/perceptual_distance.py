"""Perceptual distances of images: LPIPS (arXiv 1801.03924) on VGG-16, and a stand-in that needs no download.

LPIPS is the `lpips` package with a backbone read from a file. The stand-in is the same kind of distance on the features
of a VAE encoder. It is no measure of human perception, since these features serve reconstruction; but it is sensitive
to blur and displaced edges, which pixel errors hardly measure.
"""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import lpips
import torch
from diffusers.models.autoencoders.vae import Encoder, EncoderTiny
from torch import nn
from torch.nn import functional as F

from latentsync.errors import ConfigError
from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file

_LINEAR_WEIGHTS = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
_NUM_LEVELS = 5
_NORM_EPS = 1e-10  # as in lpips


class VggLpips(nn.Module):
    """LPIPS v0.1, filled by `load_vgg_lpips`.

    Computes in float32 outside autocast: the squares of VGG's activations overflow in float16.
    """

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():  # lpips uses a deprecated argument of torchvision
            warnings.simplefilter("ignore", UserWarning)
            self.network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return float32 distances (n,), 0 for equal images.

        Args:
            images, targets: (n, 3, h, w) in [-1, 1], sides of at least 16 pixels. The gradient is always finite.
        """
        with torch.autocast(images.device.type, enabled=False):
            features, target_features = self._features(images), self._features(targets)
            distances = torch.zeros((), device=images.device)
            for a, b, linear in zip(features, target_features, self.network.lins, strict=True):
                distances = distances + linear((_normalize(a) - _normalize(b)).square()).mean((2, 3))
            return distances.flatten()

    def _features(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the outputs of five ReLUs, each (n, c, h, w)."""
        return self.network.net(self.network.scaling_layer(images.float()))


def load_vgg_lpips(path: Path, device: torch.device | str = "cpu") -> VggLpips:
    """Load the VGG-16 backbone in float32 with frozen parameters; the lpips package includes the linear layers.

    Args:
        path: `vgg16-397923af.pth`, torchvision's VGG-16.
        device: device of the network.

    Raises:
        CheckpointError: the file is missing, damaged, or no VGG-16.
    """
    backbone = read_weight_file(path, TRAINING_DOWNLOAD)
    with torch.device("meta"):
        network = VggLpips()
    weights = {f"network.scaling_layer.{name}": value for name, value in lpips.ScalingLayer().state_dict().items()}
    linear = read_weight_file(_LINEAR_WEIGHTS)
    for level in range(_NUM_LEVELS):  # lpips registers every linear layer under two names
        weights[f"network.lin{level}.model.1.weight"] = linear[f"lin{level}.model.1.weight"]
        weights[f"network.lins.{level}.model.1.weight"] = linear[f"lin{level}.model.1.weight"]
    for name in network.state_dict():
        if name.startswith("network.net.slice"):  # network.net.slice2.5.weight is torchvision's features.5.weight
            old = "features." + name.split(".", 3)[3]
            if old in backbone:
                weights[name] = backbone[old]
    fill_network(network, weights, path)
    return network.to(device=device, dtype=torch.float32).eval().requires_grad_(False)


class VaeEncoderDistance(nn.Module):
    """Distance of channel-normalized features before each downsampling of a frozen VAE encoder, in float32.

    Args:
        encoder: of a diffusers AutoencoderKL with frozen weights; shared if it is float32, otherwise copied.

    Raises:
        ConfigError: it is the encoder of an AutoencoderTiny, which has no such levels.
    """

    def __init__(self, encoder: Encoder | EncoderTiny):
        super().__init__()
        if isinstance(encoder, EncoderTiny):
            raise ConfigError("the perceptual distance of a VAE encoder needs an AutoencoderKL, not an AutoencoderTiny")
        is_float32 = encoder.conv_in.weight.dtype == torch.float32
        self.encoder = encoder if is_float32 else copy.deepcopy(encoder).float()

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return distances (n,): 0 for equal images, at most 4.

        Per level, the squared distance of the normalized feature vectors is averaged over all positions; the result is
        the mean over levels.

        Args:
            images, targets: (n, 3, h, w) in [-1, 1].
        """
        with torch.no_grad():
            target_features = self.features(targets)
        levels = [
            (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2))
            for a, b in zip(self.features(images), target_features, strict=True)
        ]
        return torch.stack(levels).mean(0)

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return one (n, c, h, w) float32 per level, the first at the size of the images."""
        hidden = self.encoder.conv_in(images.float())
        levels = []
        for block in self.encoder.down_blocks:
            for resnet in cast(nn.ModuleList, block.resnets):
                hidden = resnet(hidden, None)
            levels.append(hidden)
            for downsampler in cast(nn.ModuleList, block.downsamplers or []):
                hidden = downsampler(hidden)
        return levels


def _normalize(features: torch.Tensor) -> torch.Tensor:
    """Scale features (n, c, h, w) to unit length over the channels; zero vectors stay zero.

    Unlike lpips' own function, whose gradient is NaN at zero vectors (square root of 0).
    """
    squares = features.square().sum(1, keepdim=True)
    return features / (torch.where(squares > 0, squares, 1).sqrt() + _NORM_EPS)
