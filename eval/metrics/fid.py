"""FID (Heusel et al. 2017): Frechet distance of Inception features of face crops, without a unit, 0 for equal sets."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from eval.face_clips import FaceClip
from eval.metrics.command import run_command
from eval.metrics.metric import FrechetMetric, Quantity
from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import TRAINING_DOWNLOAD, read_weight_file
from latentsync.weights import CHECKPOINTS

NUM_FEATURES = 2048
STRIDE_FRAMES = 5
"""Only every fifth frame is used: adjacent frames are nearly equal."""

_BATCH = 8


def load_inception(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """Load torch-fidelity's Inception, which maps images (n, 3, h, w) uint8 to a tuple with features (n, 2048).

    Args:
        path: its weights file `weights-inception-2015-12-05-6726825d.pth`, converted from TensorFlow's original.
        device: device of the network.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    safe = io.BytesIO()  # torch-fidelity unpickles without weights_only, so it receives a copy that was read safely
    torch.save(read_weight_file(path, TRAINING_DOWNLOAD), safe)
    safe.seek(0)
    try:
        network = FeatureExtractorInceptionV3("fid", [str(NUM_FEATURES)], feature_extractor_weights_path=safe)
    except RuntimeError as error:
        raise CheckpointError(f"{path} is not torch-fidelity's Inception: download it again") from error
    return network.to(device)


def feature_extractor(network: nn.Module, device: torch.device) -> Callable[[FaceClip], np.ndarray]:
    """Return a function from a clip to the features (n, 2048) float32 of every fifth valid frame."""

    @torch.inference_mode()
    def features_of(clip: FaceClip) -> np.ndarray:
        parts = [np.empty((0, NUM_FEATURES), np.float32)]
        for crops in clip.valid_batches(_BATCH, STRIDE_FRAMES):
            images = torch.from_numpy(crops).permute(0, 3, 1, 2)
            parts.append(network(images.to(device))[0].cpu().numpy())
        return np.concatenate(parts)

    return features_of


METRIC = FrechetMetric(
    name="fid",
    quantities=(Quantity("fid", "", False, "Frechet distance of Inception features from the real face crops", 0.0),),
    description="Frechet inception distance (FID) of face crops",
    protocol=(
        "Published values use whole frames or face crops of various sizes, and from hundreds to many thousands of "
        "them. FID falls as their number grows, so only values of equal numbers are comparable. Ours: torch-fidelity's "
        "port of the original Inception on aligned 256 px face crops of every fifth frame, against the references "
        f"(else the sources). Fewer than {2 * NUM_FEATURES} images give a warning."
    ),
    num_features=NUM_FEATURES,
    # not downloaded by scripts/download_weights.py; torch-fidelity's release page has it
    file=CHECKPOINTS / "auxiliary" / "weights-inception-2015-12-05-6726825d.pth",
    build=lambda path, device: feature_extractor(load_inception(path, device), device),
)

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
