"""SyncNet-v2 for active speaker detection: embeddings of single windows of a face, and of sound of any length."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.audio.sample_source import SAMPLE_RATE, SampleSource
from latentsync.face.tracker import Track
from latentsync.judges.face_crops import SquareCrops
from latentsync.judges.syncnet_v2 import (
    COLUMNS_PER_FRAME,
    LIP_SIZE,
    NUM_LIP_FRAMES,
    NUM_MFCC_COLUMNS,
    SyncNetV2,
    load_syncnet_v2,
    mfcc_coefficients,
    mfcc_windows,
)

_HOP, _COLUMN_LENGTH = SAMPLE_RATE // 100, SAMPLE_RATE // 40
"""Samples from one MFCC column to the next, and of one column."""


class SyncNetV2Windows:
    """`StreamingSyncNet` with SyncNet-v2. Vectors have length 1, so that similarities are cosines, in [-1, 1].

    The published confidence is a difference of Euclidean distances, whose scale is the network's own. Cosines can be
    compared with those of `StableSyncScorer`.

    Args:
        network: from `load_syncnet_v2`.
        name: of the network, for reports.
    """

    resolution, num_frames, fps = LIP_SIZE, NUM_LIP_FRAMES, 25

    def __init__(self, network: SyncNetV2, name: str = "SyncNet-v2") -> None:
        self._network, self.name = network, name
        self._device = next(network.parameters()).device

    def face_crops(self, track: Track, fps: float) -> SquareCrops:
        """Return the crops of a face, of which the windows are made."""
        return SquareCrops(track, fps)

    @torch.inference_mode()
    def embed_video(self, windows: Sequence[Tensor]) -> np.ndarray:
        """Embed windows of RGB crops, each (5, 3, 224, 224) in [-1, 1], as (n, 1024) vectors of length 1."""
        frames = [((window.to(self._device) + 1) * 127.5).flip(1) for window in windows]
        vectors = torch.cat([self._network.embed_lips(bgr) for bgr in frames])
        return F.normalize(vectors).cpu().numpy()

    @torch.inference_mode()
    def embed_audio(self, samples: SampleSource, starts: Sequence[int]) -> np.ndarray:
        """Embed the audio of windows that start at these frames (ascending), read from a source of any length.

        Returns:
            (n, 1024) vectors of length 1; NaN for a window that exceeds the audio.
        """
        num_columns = 1 + -(-max(samples.num_samples - _COLUMN_LENGTH, 0) // _HOP)
        num_windows = (num_columns - NUM_MFCC_COLUMNS) // COLUMNS_PER_FRAME + 1
        inside = [i for i, start in enumerate(starts) if 0 <= start < num_windows]
        if not inside:
            return np.full((len(starts), 1), np.nan, dtype=np.float32)
        first, last = starts[inside[0]], starts[inside[-1]]
        begin = max(first - 1, 0)  # pre-emphasis takes one sample from before the window
        end = COLUMNS_PER_FRAME * last + NUM_MFCC_COLUMNS - 1
        heard = samples.read(begin * COLUMNS_PER_FRAME * _HOP, min(end * _HOP + _COLUMN_LENGTH, samples.num_samples))
        windows = mfcc_windows(mfcc_coefficients(heard), NUM_MFCC_COLUMNS)
        chosen = torch.from_numpy(windows[[starts[i] - begin for i in inside]]).to(self._device)
        vectors = F.normalize(self._network.embed_audio(chosen)).cpu().numpy()
        result = np.full((len(starts), vectors.shape[1]), np.nan, dtype=np.float32)
        result[inside] = vectors
        return result


def load_syncnet_v2_windows(path: Path, device: torch.device | str = "cpu") -> SyncNetV2Windows:
    """Load the published `syncnet_v2.model`; raises the errors of `load_syncnet_v2`."""
    return SyncNetV2Windows(load_syncnet_v2(path, device))
