"""SyncNet-v2 (Chung and Zisserman, "Out of time", 2016): embeddings of lips and speech, and their sync confidence.

The network embeds five frames, or 0.2 s of audio, as 1024 numbers. Layer names are those of the published
`syncnet_v2.model`. `SyncNetV2Scorer` is the published sync confidence over a whole clip.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from python_speech_features import mfcc
from torch import Tensor, nn

from latentsync.audio.sample_source import SAMPLE_RATE
from latentsync.errors import CheckpointError, InputError
from latentsync.judges.sync_score import SyncScore, distance_curve, score_distances
from latentsync.storage.weight_file import plain_tensors, read_weight_file

NUM_LIP_FRAMES = 5
LIP_SIZE = 224
"""Side of the input frames in pixels."""
NUM_COEFFICIENTS = 13
NUM_MFCC_COLUMNS = 20
EMBEDDING_WIDTH = 1024
COLUMNS_PER_FRAME = 4
"""100 MFCC columns per second at 25 frames per second."""


class SyncNetV2(nn.Module):
    """Audio and lip encoder. Only the first lip layer spans several frames, so a whole clip is one forward pass."""

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

    def embed_audio(self, coefficients: Tensor) -> Tensor:
        """Embed windows of MFCC (n, 1, 13, 20) as (n, 1024)."""
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))

    def embed_lips(self, frames: Tensor) -> Tensor:
        """Embed consecutive frames (t, 3, 224, 224), BGR in 0...255, as (t - 4, 1024): one vector per five frames."""
        features = self.netcnnlip(frames.transpose(0, 1)[None])
        return self.netfclip(features[0, :, :, 0, 0].T)


def load_syncnet_v2(path: str | Path, device: torch.device | str = "cpu") -> SyncNetV2:
    """Load the published `syncnet_v2.model` (a state dict) in evaluation mode with frozen parameters.

    Raises:
        CheckpointError: the file is missing, damaged, or contains another network.
    """
    weights = read_weight_file(path)
    with torch.device("meta"):
        network = SyncNetV2()
    try:
        # Not fill_network: files older than torch 0.4.1 lack num_batches_tracked, which torch's own loader adds.
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a SyncNet-v2: download auxiliary/syncnet_v2.model with "
            "python -m scripts.download_weights --training"
        ) from error
    plain_tensors(weights, path)
    return network.float().to(device).eval().requires_grad_(False)


class SyncNetV2Scorer:
    """`SyncScorer` with SyncNet-v2, for crops of SyncNet's face tracks (`latentsync.judges.face_tracks`).

    Args:
        network: from `load_syncnet_v2`.
        batch_frames: frames, and audio windows, per forward pass.
    """

    def __init__(self, network: SyncNetV2, batch_frames: int = 16) -> None:
        self._network = network
        self._batch_frames = batch_frames
        self._device = next(network.parameters()).device

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        """See `SyncScorer`; raises InputError for less than 0.25 s of frames or audio."""
        return score_distances(self.curve(crops, samples))

    @torch.inference_mode()
    def curve(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return the mean distance (31,) of video and audio embeddings at each of `sync_score.SHIFTS`."""
        windows = mfcc_windows(mfcc_coefficients(samples), NUM_MFCC_COLUMNS)
        num_windows = min(len(crops) - NUM_LIP_FRAMES + 1, len(windows))
        if num_windows < 1:
            raise InputError("sync needs at least 0.25 s of video and audio: give a longer clip")
        return distance_curve(self._embed_lips(crops, num_windows), self._embed_audio(windows[:num_windows]))

    def _embed_lips(self, crops: np.ndarray, num_windows: int) -> np.ndarray:
        parts = []
        for start in range(0, num_windows, self._batch_frames):
            stop = min(start + self._batch_frames, num_windows)
            frames = _lip_frames(crops[start : stop + NUM_LIP_FRAMES - 1], self._device)
            parts.append(self._network.embed_lips(frames).cpu().numpy())
        return np.concatenate(parts)

    def _embed_audio(self, windows: np.ndarray) -> np.ndarray:
        batches = torch.from_numpy(windows).split(self._batch_frames)
        return torch.cat([self._network.embed_audio(batch.to(self._device)).cpu() for batch in batches]).numpy()


def mfcc_coefficients(samples: np.ndarray) -> np.ndarray:
    """Return MFCC (13, columns) float32 of samples (s,) in [-1, 1] at 16 kHz: 25 ms windows, 100 columns per second.

    Computed by python_speech_features, the package of SyncNet's authors, with its defaults on 16-bit samples.
    """
    whole = np.clip(np.round(np.asarray(samples, dtype=np.float64) * 32768), -32768, 32767).astype(np.int16)
    return mfcc(whole, SAMPLE_RATE).T.astype(np.float32)


def mfcc_windows(coefficients: np.ndarray, num_columns: int) -> np.ndarray:
    """Return the complete windows (n, 1, 13, num_columns) of coefficients (13, columns), one per video frame."""
    num_windows = max((coefficients.shape[1] - num_columns) // COLUMNS_PER_FRAME + 1, 0)
    starts = COLUMNS_PER_FRAME * np.arange(num_windows)
    windows = [coefficients[:, start : start + num_columns] for start in starts]
    shape = (0, coefficients.shape[0], num_columns)
    return (np.stack(windows) if windows else np.zeros(shape, np.float32))[:, None]


def _lip_frames(crops: np.ndarray, device: torch.device) -> Tensor:
    """Convert RGB crops (t, h, w, 3) uint8 to BGR frames (t, 3, 224, 224) in 0...255."""
    frames = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).to(device).permute(0, 3, 1, 2).float()
    if frames.shape[-2:] == (LIP_SIZE, LIP_SIZE):
        return frames
    return F.interpolate(frames, (LIP_SIZE, LIP_SIZE), mode="bilinear", antialias=True).clamp(0, 255)


def _layer2d(in_channels: int, out_channels: int, kernel: tuple[int, int], padding: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, kernel, padding=padding), nn.BatchNorm2d(out_channels), nn.ReLU()]


def _layer3d(
    in_channels: int, out_channels: int, kernel: tuple[int, int, int], stride: int, padding: int
) -> list[nn.Module]:
    """Build a convolution with stride and padding in space only, never over time, then BatchNorm and ReLU."""
    convolution = nn.Conv3d(in_channels, out_channels, kernel, (1, stride, stride), (0, padding, padding))
    return [convolution, nn.BatchNorm3d(out_channels), nn.ReLU()]


def _projection() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING_WIDTH))
