"""SyncNet-v2 (Chung and Zisserman, "Out of time", 2016): embeds five lip pictures, or 0.2 s of sound, as 1024 numbers.

Layer names are those of the published `syncnet_v2.model`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import plain_tensors, read_weight_file

NUM_LIP_FRAMES = 5
LIP_SIZE = 224
NUM_COEFFICIENTS = 13
NUM_SOUND_COLUMNS = 20
EMBEDDING_WIDTH = 1024


class SyncNetV2(nn.Module):
    """Both stacks. Nothing but the first lip layer looks across frames, so a whole clip goes through at once."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_layer2d(1, 64, (3, 3), 1),
            nn.MaxPool2d(1, 1),
            *_layer2d(64, 192, (3, 3), 1),
            nn.MaxPool2d(3, (1, 2)),
            *_layer2d(192, 384, (3, 3), 1),
            *_layer2d(384, 256, (3, 3), 1),
            *_layer2d(256, 256, (3, 3), 1),
            nn.MaxPool2d(3, 2),
            *_layer2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _projection()
        self.netcnnlip = nn.Sequential(
            *_layer3d(3, 96, (NUM_LIP_FRAMES, 7, 7), 2, 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer3d(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_layer3d(256, 256, (1, 3, 3), 1, 1),
            *_layer3d(256, 256, (1, 3, 3), 1, 1),
            *_layer3d(256, 256, (1, 3, 3), 1, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_layer3d(256, 512, (1, 6, 6), 1, 0),
        )
        self.netfclip = _projection()

    def embed_sound(self, coefficients: Tensor) -> Tensor:
        """Windows of MFCC (n, 1, 13, 20) to (n, 1024)."""
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))

    def embed_lips(self, frames: Tensor) -> Tensor:
        """Successive pictures (t, 3, 224, 224), BGR in 0...255, to (t - 4, 1024): one vector per five pictures."""
        features = self.netcnnlip(frames.transpose(0, 1)[None])
        return self.netfclip(features[0, :, :, 0, 0].T)


def load_syncnet_v2(path: str | Path, device: torch.device | str = "cpu") -> SyncNetV2:
    """Reads the published `syncnet_v2.model`, a plain state dict, without running code from it.

    Raises:
        CheckpointError: the file is missing, damaged, or of another network.
    """
    weights = read_weight_file(path)
    with torch.device("meta"):
        network = SyncNetV2()
    try:
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a SyncNet-v2: fetch auxiliary/syncnet_v2.model with "
            "python -m scripts.download_weights --training"
        ) from error
    plain_tensors(weights, path)
    return network.float().to(device).eval().requires_grad_(False)


def _layer2d(in_channels: int, out_channels: int, kernel: tuple[int, int], padding: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, kernel, padding=padding), nn.BatchNorm2d(out_channels), nn.ReLU()]


def _layer3d(
    in_channels: int, out_channels: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> list[nn.Module]:
    """A convolution strided and padded in the picture only, never over time."""
    convolution = nn.Conv3d(in_channels, out_channels, kernel, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(out_channels), nn.ReLU()]


def _projection() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING_WIDTH))
