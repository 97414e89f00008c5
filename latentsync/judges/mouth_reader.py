"""Network that predicts mouth opening and width from an aligned crop: a metric independent of the SyncNet."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import fill_network, read_weight_file

_INPUT_SIZE = 64
_TOP, _BOTTOM, _LEFT, _RIGHT = 0.42, 1.0, 0.21, 0.79
"""Input region as shares of the crop's side."""
_CHANNELS = (16, 24, 32, 48)


class MouthReader(nn.Module):
    """Small convolutional network that predicts mouth opening and width from aligned crops."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in _CHANNELS:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(channels * 16, 48), nn.SiLU(), nn.Linear(48, 2))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops (n, 3, R, R) in [-1, 1] to opening and width (n, 2).

        The input is the lower middle of the crop, resized to 64 px.
        """
        size = crops.shape[-1]
        region = crops[..., int(_TOP * size) : int(_BOTTOM * size), int(_LEFT * size) : int(_RIGHT * size)]
        region = F.interpolate(region.float(), (_INPUT_SIZE, _INPUT_SIZE), mode="bilinear", antialias=True)
        return self.head(self.features(region))


def load_mouth_reader(path: Path, device: torch.device | str = "cpu") -> MouthReader:
    """Load `mouth_reader.pt` in evaluation mode with frozen parameters.

    Raises:
        CheckpointError: the file is missing, damaged, or contains another network.
    """
    weights = read_weight_file(path).get("state_dict")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path} has no state_dict: give a mouth_reader.pt")
    with torch.device("meta"):
        reader = MouthReader()
    fill_network(reader, weights, path)
    return reader.float().to(device).eval().requires_grad_(False)


@torch.inference_mode()
def read_mouth(reader: nn.Module, crops: np.ndarray, batch_size: int = 50) -> np.ndarray:
    """Predict mouth opening and width (f, 2) float32 from aligned crops (f, R, R, 3) uint8."""
    device = next(reader.parameters()).device
    parts = []
    for start in range(0, len(crops), batch_size):
        pixels = torch.from_numpy(np.array(crops[start : start + batch_size])).to(device).permute(0, 3, 1, 2)
        parts.append(reader(pixels.float() / 127.5 - 1).float().cpu().numpy())
    return np.concatenate(parts)
