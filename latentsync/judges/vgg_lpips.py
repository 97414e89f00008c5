"""LPIPS (arXiv 1801.03924) on VGG-16: how unlike two pictures look. The `lpips` package with a backbone from a file."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import lpips
import torch
from torch import nn

from latentsync.storage.weight_file import TRAINING_DOWNLOAD, fill_network, read_weight_file

_LINEAR_WEIGHTS = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
_NUM_LEVELS = 5
_SMALLEST_NORM = 1e-10  # as in lpips


class VggLpips(nn.Module):
    """LPIPS v0.1; fill it with `load_vgg_lpips`.

    It computes in float32 outside autocast: the squares of VGG's activations overflow in float16.
    """

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():  # lpips names torchvision's weights in the old way
            warnings.simplefilter("ignore", UserWarning)
            self.network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Images and targets (n, 3, h, w) in [-1, 1], sides of 16 pixels at least, to float32 distances (n,).

        Equal pictures have distance 0. The gradient is finite for all images.
        """
        with torch.autocast(images.device.type, enabled=False):
            seen, real = self._features(images), self._features(targets)
            distances = torch.zeros((), device=images.device)
            for a, b, linear in zip(seen, real, self.network.lins, strict=True):
                distances = distances + linear((_unit(a) - _unit(b)).square()).mean((2, 3))
            return distances.flatten()

    def _features(self, images: torch.Tensor) -> Sequence[torch.Tensor]:
        """The outputs of five ReLUs, each (n, c, h, w)."""
        return self.network.net(self.network.scaling_layer(images.float()))


def _unit(features: torch.Tensor) -> torch.Tensor:
    """Features (n, c, h, w) at unit length over the channels; where all are 0 they stay 0.

    lpips' own function has the gradient NaN there, from the root of 0.
    """
    squares = features.square().sum(1, keepdim=True)
    return features / (torch.where(squares > 0, squares, 1).sqrt() + _SMALLEST_NORM)


def load_vgg_lpips(path: Path, device: torch.device | str = "cpu") -> VggLpips:
    """Reads the backbone, frozen, in float32; the linear layers come with the lpips package.

    Args:
        path: `vgg16-397923af.pth`, torchvision's VGG-16.
        device: where the network goes.

    Raises:
        CheckpointError: the file is missing, damaged or no VGG-16.
    """
    backbone = read_weight_file(path, TRAINING_DOWNLOAD)
    with torch.device("meta"):
        judge = VggLpips()
    weights = {f"network.scaling_layer.{name}": value for name, value in lpips.ScalingLayer().state_dict().items()}
    linear = read_weight_file(_LINEAR_WEIGHTS)
    for level in range(_NUM_LEVELS):  # lpips keeps every linear layer under two names
        weights[f"network.lin{level}.model.1.weight"] = linear[f"lin{level}.model.1.weight"]
        weights[f"network.lins.{level}.model.1.weight"] = linear[f"lin{level}.model.1.weight"]
    for name in judge.state_dict():
        if name.startswith("network.net.slice"):  # network.net.slice2.5.weight is torchvision's features.5.weight
            old = "features." + name.split(".", 3)[3]
            if old in backbone:
                weights[name] = backbone[old]
    fill_network(judge, weights, path)
    return judge.to(device=device, dtype=torch.float32).eval().requires_grad_(False)
