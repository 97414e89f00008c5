"""FVD (Unterthiner et al. 2018): Frechet distance of I3D features of face videos, without a unit, 0 for equal sets."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from eval.face_clips import FaceClip
from eval.frechet_judge import FrechetJudge
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, SetJudge, SetMetric
from latentsync.errors import CheckpointError
from latentsync.weights import CHECKPOINTS

NUM_FEATURES = 400
NUM_FRAMES = 16
"""Frames of one window; windows do not overlap."""

_SIZE = 224


class VideoNetwork(Protocol):
    """The published I3D."""

    def __call__(self, videos: torch.Tensor, *, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        """Videos (b, 3, f, 224, 224) in [-1, 1] to features (b, 400)."""
        ...


def load_i3d(path: Path, device: torch.device | str = "cpu") -> VideoNetwork:
    """The published TorchScript file.

    A TorchScript file is a program: opening it runs what it says. So nothing but the file that the user put at this
    path is opened, and nothing is downloaded.

    Raises:
        CheckpointError: the file is missing or no TorchScript.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: run python -m scripts.download_weights --training, or name another")
    try:
        return torch.jit.load(path, map_location=device).eval()
    except Exception as error:  # damaged bytes fail inside torch.jit in many ways
        raise CheckpointError(f"{path} is damaged or no TorchScript: download it again") from error


class _FvdJudge(FrechetJudge):
    figure = "fvd"
    num_features = NUM_FEATURES

    def __init__(self, network: VideoNetwork, device: torch.device) -> None:
        self._network, self._device = network, device

    @torch.inference_mode()
    def features_of(self, clip: FaceClip) -> np.ndarray:
        """See `FrechetJudge`."""
        parts = [np.empty((0, NUM_FEATURES), np.float32)]
        for stretch in clip.stretches(NUM_FRAMES):
            for start in range(stretch.start, stretch.stop - NUM_FRAMES + 1, NUM_FRAMES):
                window = self._window(clip.crops[start : start + NUM_FRAMES])
                features = self._network(window, rescale=False, resize=False, return_features=True)
                if tuple(features.shape) != (1, NUM_FEATURES):
                    raise CheckpointError(
                        f"the I3D file gives {tuple(features.shape)}, not (1, {NUM_FEATURES}) numbers"
                    )
                parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)

    def _window(self, crops: np.ndarray) -> torch.Tensor:
        """Crops (f, R, R, 3) uint8 to a video (1, 3, f, 224, 224) in [-1, 1]."""
        pictures = torch.from_numpy(np.array(crops)).to(self._device).permute(0, 3, 1, 2).float()
        pictures = F.interpolate(pictures, (_SIZE, _SIZE), mode="bilinear", antialias=True)
        return (pictures / 127.5 - 1).transpose(0, 1)[None]


@dataclass(frozen=True)
class FvdMetric(SetMetric):
    """The real set is the references, and the sources where there are none."""

    i3d: Path = CHECKPOINTS / "auxiliary" / "i3d_torchscript.pt"

    name = "fvd"
    figures = (Figure("fvd", "", False, "Frechet distance of I3D features from the real face videos", 0.0),)
    description = "Frechet video distance (FVD) of face crops"
    protocol = (
        "Published figures take 16-frame windows through this I3D file, on whole frames or face crops, 2048 of them in "
        "StyleGAN-V's protocol; FVD falls with their number, so only equal numbers compare. Ours: all windows of 16 "
        "frames that do not overlap, aligned face crops at 224 px, against the references (else the sources); under "
        f"{2 * NUM_FEATURES} windows a warning stands beside it."
    )

    def weights(self) -> list[Path]:
        """The published I3D."""
        return [self.i3d]

    def load(self, device: torch.device) -> SetJudge:
        """The network; CheckpointError where it cannot be read. It runs the program in the file, see `load_i3d`."""
        return _FvdJudge(load_i3d(self.i3d, device), device)


METRIC = FvdMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
