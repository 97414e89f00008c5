"""The published sync confidence: SyncNet-v2 over a whole clip."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.errors import InputError
from latentsync.judges.mfcc import sound_windows, speech_coefficients
from latentsync.judges.sync_score import SyncScore, distance_curve, score_distances
from latentsync.judges.syncnet_v2 import LIP_SIZE, NUM_LIP_FRAMES, NUM_SOUND_COLUMNS, SyncNetV2


class SyncNetV2Scorer:
    """Scores crops made as SyncNet's face tracks are, 224 px (other sizes are resized), with SyncNet-v2.

    Args:
        network: from `load_syncnet_v2`.
        batch_frames: pictures, and windows of sound, that go through the network at once.
    """

    def __init__(self, network: SyncNetV2, batch_frames: int = 16) -> None:
        self._network = network
        self._batch_frames = batch_frames
        self._device = next(network.parameters()).device

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        """See `SyncScorer`; raises InputError under 0.25 s of picture or sound."""
        return score_distances(self.curve(crops, samples))

    @torch.inference_mode()
    def curve(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Mean distance (31,) of picture and sound at each of `sync_score.SHIFTS`."""
        windows = sound_windows(speech_coefficients(samples), NUM_SOUND_COLUMNS)
        num_windows = min(len(crops) - NUM_LIP_FRAMES + 1, len(windows))
        if num_windows < 1:
            raise InputError("sync needs at least 0.25 s of picture and sound: give a longer clip")
        return distance_curve(self._lips(crops, num_windows), self._sound(windows[:num_windows]))

    def _lips(self, crops: np.ndarray, num_windows: int) -> np.ndarray:
        parts = []
        for start in range(0, num_windows, self._batch_frames):
            stop = min(start + self._batch_frames, num_windows)
            frames = _pictures(crops[start : stop + NUM_LIP_FRAMES - 1], self._device)
            parts.append(self._network.embed_lips(frames).cpu().numpy())
        return np.concatenate(parts)

    def _sound(self, windows: np.ndarray) -> np.ndarray:
        batches = torch.from_numpy(windows).split(self._batch_frames)
        return torch.cat([self._network.embed_sound(batch.to(self._device)).cpu() for batch in batches]).numpy()


def _pictures(crops: np.ndarray, device: torch.device) -> Tensor:
    """RGB crops (t, h, w, 3) uint8 to BGR pictures (t, 3, 224, 224) in 0...255."""
    pictures = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).to(device).permute(0, 3, 1, 2).float()
    if pictures.shape[-2:] == (LIP_SIZE, LIP_SIZE):
        return pictures
    return F.interpolate(pictures, (LIP_SIZE, LIP_SIZE), mode="bilinear", antialias=True).clamp(0, 255)
