"""The same verdict by StableSyncNet: how alike windows of picture and sound are, at every shift of the sound."""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.audio.mel import COLUMNS_PER_SECOND, mel_window, syncnet_mel
from latentsync.errors import ConfigError, InputError
from latentsync.face.mask import lower_half
from latentsync.judges.sync_score import MAX_SHIFT, SHIFTS, SyncScore
from latentsync.models.checkpoint import check_syncnet, load_syncnet
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.syncnet_input import SyncNetInput, read_syncnet_config

_LEAST_SHARE = 0.25
"""Share of the picture windows that must have a partner at a shift for the shift to count."""


class StableSyncScorer:
    """Scores aligned crops, of any size, with a pixel-space StableSyncNet. Similarities lie in [0, 1].

    Args:
        syncnet: the network, in pixel space.
        syncnet_input: what it takes; crops of another size are resized.
        batch_windows: windows per batch of the network.
    """

    def __init__(
        self,
        syncnet: StableSyncNet,
        syncnet_input: SyncNetInput,
        batch_windows: int = 16,
    ) -> None:
        self._syncnet = syncnet.eval()
        self._resolution, self._lower_half = syncnet_input.resolution, syncnet_input.lower_half
        self._num_frames, self._num_mel_columns = syncnet_input.num_frames, syncnet_input.num_mel_columns
        self._fps = syncnet_input.video_fps
        self._batch_windows = batch_windows
        parameter = next(syncnet.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        """See `SyncScorer`; confidence is the maximum of the curve less its median, distance is 1 - maximum."""
        return score_similarities(self.curve(crops, samples))

    def curve(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Mean similarity (31,) at each of `sync_score.SHIFTS`, NaN at shifts the clip is too short for."""
        return similarity_curve(self.similarities(crops, samples))

    @torch.inference_mode()
    def similarities(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """(pictures, sounds) similarity of the windows that begin with each frame.

        Args:
            crops: (n, h, w, 3) uint8 RGB aligned crops.
            samples: (s,) float in [-1, 1] at 16 kHz.

        Raises:
            InputError: picture or sound is shorter than one window.
        """
        mel = syncnet_mel(samples)
        num_windows = self._num_windows(len(crops), mel.shape[-1])
        pictures, sounds = [], []
        for first in range(0, num_windows, self._batch_windows):
            starts = range(first, min(first + self._batch_windows, num_windows))
            pictures.append(self._syncnet.visual_encoder(self._pictures(crops, starts)))
            windows = [mel_window(mel, start, self._fps, self._num_mel_columns) for start in starts]
            sounds.append(self._syncnet.audio_encoder(torch.stack(windows)[:, None].to(self._device, self._dtype)))
        return (torch.cat(pictures) @ torch.cat(sounds).T).float().cpu().numpy()

    def _num_windows(self, num_crops: int, num_columns: int) -> int:
        """How many frames begin a window of picture and of sound; column int(80 i / fps) begins with frame i."""
        num_starts = num_columns - self._num_mel_columns + 1
        num_windows = min(num_crops - self._num_frames + 1, -(-num_starts * self._fps // COLUMNS_PER_SECOND))
        if num_windows < 1:
            raise InputError(
                f"sync needs {self._num_frames} pictures and {self._num_mel_columns / COLUMNS_PER_SECOND:.2f} s of "
                f"sound, got {num_crops} and {num_columns / COLUMNS_PER_SECOND:.2f} s: give a longer clip"
            )
        return num_windows

    def _pictures(self, crops: np.ndarray, starts: range) -> Tensor:
        """Windows (b, 3 f, h, w) in [-1, 1] that begin with the given successive frames."""
        needed = np.array(crops[starts[0] : starts[-1] + self._num_frames])
        frames = torch.from_numpy(needed).to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
        if frames.shape[-1] != self._resolution:
            frames = _resized(frames, self._resolution)
        if self._lower_half:
            frames = lower_half(frames)
        windows = [frames[i : i + self._num_frames].flatten(0, 1) for i in range(len(starts))]
        return torch.stack(windows).to(self._dtype)


def load_stable_sync_scorer(
    config: Path, checkpoint: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> StableSyncScorer:
    """Load a SyncNet and return its scorer.

    Args:
        config: YAML that the SyncNet was trained with, such as configs/demo/syncnet.yaml.
        checkpoint: its weights.
        device: device of the network.
        dtype: format of the weights.

    Raises:
        ConfigError: the YAML cannot be read, or describes a SyncNet on latents.
        CheckpointError: the weights are missing or damaged, or do not fit.
    """
    model, syncnet_input = _read_pixel_syncnet(config)
    syncnet = load_syncnet(model, checkpoint, device, dtype).requires_grad_(False)
    return StableSyncScorer(syncnet, syncnet_input)


def check_stable_sync_scorer(config: Path, checkpoint: Path) -> None:
    """Raise the errors of `load_stable_sync_scorer` without loading the weights."""
    model, _ = _read_pixel_syncnet(config)
    with torch.device("meta"):
        check_syncnet(StableSyncNet(model), checkpoint)


def _read_pixel_syncnet(config: Path) -> tuple[SyncNetConfig, SyncNetInput]:
    model, syncnet_input = read_syncnet_config(config)
    if syncnet_input.latent_space or model.visual_encoder.in_channels != 3 * syncnet_input.num_frames:
        raise ConfigError(f"{config} is a SyncNet on latents: name one on pixels, such as configs/demo/syncnet.yaml")
    return model, syncnet_input


def _resized(frames: Tensor, resolution: int) -> Tensor:
    """Frames (n, 3, h, w) at the network's size, as its training clips are resized: area to shrink, else bicubic."""
    size = (resolution, resolution)
    if frames.shape[-1] > resolution:
        return F.interpolate(frames, size, mode="area")
    return F.interpolate(frames, size, mode="bicubic", align_corners=False).clamp(-1, 1)


def similarity_curve(similarities: np.ndarray) -> np.ndarray:
    """Mean of a (pictures, sounds) matrix along each of `SHIFTS`; NaN where too few windows meet."""
    num_pictures = len(similarities)
    diagonals = [np.diagonal(similarities, shift) if abs(shift) < num_pictures else np.zeros(0) for shift in SHIFTS]
    least = max(1, math.ceil(_LEAST_SHARE * num_pictures))
    return np.array([values.mean() if len(values) >= least else np.nan for values in diagonals], dtype=np.float64)


def in_sync_similarity(curve: np.ndarray) -> float:
    """The similarity without any shift."""
    return float(curve[MAX_SHIFT])


def score_similarities(curve: np.ndarray) -> SyncScore:
    """The verdict on a `similarity_curve`."""
    best = int(np.nanargmax(curve))
    return SyncScore(-SHIFTS[best], float(curve[best] - np.nanmedian(curve)), float(1 - curve[best]))
