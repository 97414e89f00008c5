"""FID (Heusel et al. 2017): Frechet distance of Inception features of face crops, without a unit, 0 for equal sets."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from eval.face_clips import FaceClip
from eval.frechet_judge import FrechetJudge
from eval.metrics.command import run_command
from eval.metrics.metric import Figure, SetJudge, SetMetric
from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import TRAINING_DOWNLOAD, read_weight_file
from latentsync.weights import CHECKPOINTS

NUM_FEATURES = 2048
STRIDE_FRAMES = 5
"""One frame in so many is taken: neighbours are nearly the same picture."""

_BATCH = 8


def load_inception(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """torch-fidelity's Inception, which maps pictures (n, 3, h, w) uint8 to a tuple with features (n, 2048).

    Args:
        path: its weights file `weights-inception-2015-12-05-6726825d.pth`, converted from TensorFlow's original.
        device: where the network goes.

    Raises:
        CheckpointError: the file is missing, damaged or of another network.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    safe = io.BytesIO()  # the package would run code from the file: it gets what was read without running any
    torch.save(read_weight_file(path, TRAINING_DOWNLOAD), safe)
    safe.seek(0)
    try:
        network = FeatureExtractorInceptionV3("fid", [str(NUM_FEATURES)], feature_extractor_weights_path=safe)
    except RuntimeError as error:
        raise CheckpointError(f"{path} is not torch-fidelity's Inception: download it again") from error
    return network.to(device)


class _FidJudge(FrechetJudge):
    figure = "fid"
    num_features = NUM_FEATURES

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device

    @torch.inference_mode()
    def features_of(self, clip: FaceClip) -> np.ndarray:
        """See `FrechetJudge`."""
        frames = np.flatnonzero(clip.valid)[::STRIDE_FRAMES]
        parts = [np.empty((0, NUM_FEATURES), np.float32)]
        for start in range(0, len(frames), _BATCH):
            pictures = torch.from_numpy(clip.crops[frames[start : start + _BATCH]]).permute(0, 3, 1, 2)
            parts.append(self._network(pictures.to(self._device))[0].cpu().numpy())
        return np.concatenate(parts)


@dataclass(frozen=True)
class FidMetric(SetMetric):
    """The real set is the references, and the sources where there are none."""

    inception: Path = CHECKPOINTS / "auxiliary" / "weights-inception-2015-12-05-6726825d.pth"

    name = "fid"
    figures = (Figure("fid", "", False, "Frechet distance of Inception features from the real face crops", 0.0),)
    description = "Frechet inception distance (FID) of face crops"
    protocol = (
        "Published figures take whole frames or face crops of various sizes, and hundreds to many thousands of them; "
        "FID falls with their number, so only equal numbers compare. Ours: torch-fidelity's port of the original "
        "Inception, aligned 256 px face crops, every fifth frame, against the references (else the sources); under "
        f"{2 * NUM_FEATURES} pictures a warning stands beside it."
    )

    def weights(self) -> list[Path]:
        """Inception, put there by hand (torch-fidelity's release page has it)."""
        return [self.inception]

    def load(self, device: torch.device) -> SetJudge:
        """The network; CheckpointError where it cannot be read."""
        return _FidJudge(load_inception(self.inception, device), device)


METRIC = FidMetric()

if __name__ == "__main__":
    sys.exit(run_command(METRIC))
