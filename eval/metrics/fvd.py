"""FVD (Unterthiner et al. 2018): Frechet distance of I3D features of face videos, without a unit, 0 for equal sets."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from eval.face_clips import FaceClip
from eval.metrics.command import run_command
from eval.metrics.metric import FrechetMetric, Quantity
from latentsync.errors import CheckpointError
from latentsync.weights import CHECKPOINTS

NUM_FEATURES = 400
NUM_FRAMES = 16
"""Frames per window; windows do not overlap."""

_SIZE = 224


class VideoNetwork(Protocol):
    """Interface of the published I3D."""

    def __call__(self, videos: torch.Tensor, *, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        """Map videos (b, 3, f, 224, 224) in [-1, 1] to features (b, 400)."""
        ...


def load_i3d(path: Path, device: torch.device | str = "cpu") -> VideoNetwork:
    """Load the published TorchScript file.

    Loading a TorchScript file executes code from it. Only the file that the user placed at this path is loaded, and
    nothing is downloaded.

    Raises:
        CheckpointError: the file is missing or not TorchScript.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: run python -m scripts.download_weights --training, or name another")
    try:
        return torch.jit.load(path, map_location=device).eval()
    except Exception as error:  # torch.jit raises many types of errors for damaged files
        raise CheckpointError(f"{path} is damaged or no TorchScript: download it again") from error


def feature_extractor(network: VideoNetwork, device: torch.device) -> Callable[[FaceClip], np.ndarray]:
    """Return a function from a clip to the features (n, 400) float32 of its windows of 16 consecutive valid frames."""

    @torch.inference_mode()
    def features_of(clip: FaceClip) -> np.ndarray:
        parts = [np.empty((0, NUM_FEATURES), np.float32)]
        for span in clip.valid_spans(NUM_FRAMES):
            for start in range(span.start, span.stop - NUM_FRAMES + 1, NUM_FRAMES):
                window = _network_input(clip.crops[start : start + NUM_FRAMES], device)
                features = network(window, rescale=False, resize=False, return_features=True)
                if tuple(features.shape) != (1, NUM_FEATURES):
                    raise CheckpointError(
                        f"the I3D file gives {tuple(features.shape)}, not (1, {NUM_FEATURES}) numbers"
                    )
                parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)

    return features_of


def _network_input(crops: np.ndarray, device: torch.device) -> torch.Tensor:
    """Convert crops (f, R, R, 3) uint8 to a video (1, 3, f, 224, 224) in [-1, 1]."""
    images = torch.from_numpy(np.array(crops)).to(device).permute(0, 3, 1, 2).float()
    images = F.interpolate(images, (_SIZE, _SIZE), mode="bilinear", antialias=True)
    return (images / 127.5 - 1).transpose(0, 1)[None]


METRIC = FrechetMetric(
    name="fvd",
    quantities=(Quantity("fvd", "", False, "Frechet distance of I3D features from the real face videos", 0.0),),
    description="Frechet video distance (FVD) of face crops",
    protocol=(
        "Published values use 16-frame windows and this I3D file, on whole frames or face crops, with 2048 windows in "
        "StyleGAN-V's protocol. FVD falls as their number grows, so only values of equal numbers are comparable. Ours: "
        "all non-overlapping windows of 16 frames, aligned face crops at 224 px, against the references (else the "
        f"sources). Fewer than {2 * NUM_FEATURES} windows give a warning."
    ),
    num_features=NUM_FEATURES,
    file=CHECKPOINTS / "auxiliary" / "i3d_torchscript.pt",
    build=lambda path, device: feature_extractor(load_i3d(path, device), device),
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
