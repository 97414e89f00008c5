"""Sync scores by StableSyncNet: similarity of video and audio windows at every shift of the audio."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.audio.mel import COLUMNS_PER_SECOND, HOP_LENGTH, mel_window, syncnet_mel
from latentsync.audio.sample_source import SampleSource
from latentsync.errors import ConfigError, InputError
from latentsync.face.mask import lower_half
from latentsync.face.tracker import Track
from latentsync.judges.face_crops import AlignedCrops
from latentsync.judges.sync_score import MAX_SHIFT, SHIFTS, SyncScore
from latentsync.models.checkpoint import check_syncnet, load_syncnet
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.syncnet_input import SyncNetInput, read_syncnet_config

_MIN_SHARE = 0.25
"""Share of the video windows that must have an audio window at a shift for the shift to count."""

_MARGIN_COLUMNS = 4
"""Mel columns read on either side of the needed ones: a column depends on 2 hops of audio around it."""


class StableSyncScorer:
    """`SyncScorer` with a pixel-space StableSyncNet, for aligned crops of any size. Similarities lie in [0, 1].

    Args:
        syncnet: the network, in pixel space.
        syncnet_input: what it takes; crops of another size are resized.
        batch_windows: windows per batch of the network.
        name: of the network, for reports.

    Attributes:
        name: of the network.
        resolution: side of the network's crops in pixels.
        num_frames: frames per window.
        fps: frames per second.
    """

    def __init__(
        self,
        syncnet: StableSyncNet,
        syncnet_input: SyncNetInput,
        batch_windows: int = 16,
        name: str = "a StableSyncNet",
    ) -> None:
        self.name = name
        self._syncnet = syncnet.eval()
        self.resolution, self._lower_half = syncnet_input.resolution, syncnet_input.lower_half
        self.num_frames, self._num_mel_columns = syncnet_input.num_frames, syncnet_input.num_mel_columns
        self.fps = syncnet_input.video_fps
        self._batch_windows = batch_windows
        parameter = next(syncnet.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

    def face_crops(self, track: Track, fps: float) -> AlignedCrops:
        """Return the crops of a tracked face, of which the windows of `embed_video` are made."""
        return AlignedCrops(track, fps, self.resolution)

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        """See `SyncScorer`; confidence is the maximum of the curve minus its median, distance is 1 - maximum."""
        return score_similarities(self.curve(crops, samples))

    def curve(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return the mean similarity (31,) at each of `sync_score.SHIFTS`; NaN if the clip is too short for a shift."""
        return similarity_curve(self.similarities(crops, samples))

    @torch.inference_mode()
    def similarities(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return the similarities of all video and audio windows, one window starting at each frame.

        Args:
            crops: (n, h, w, 3) uint8 RGB aligned crops.
            samples: (s,) float in [-1, 1] at 16 kHz.

        Returns:
            (n, n) cosine similarity of video window i and audio window j.

        Raises:
            InputError: video or audio is shorter than one window.
        """
        mel = syncnet_mel(samples)
        num_windows = self._num_windows(len(crops), mel.shape[-1])
        video, audio = [], []
        for first in range(0, num_windows, self._batch_windows):
            starts = range(first, min(first + self._batch_windows, num_windows))
            video.append(self._syncnet.visual_encoder(self._video_windows(crops, starts)))
            audio.append(self._embed_mel(mel, starts))
        return (torch.cat(video) @ torch.cat(audio).T).float().cpu().numpy()

    @torch.inference_mode()
    def embed_video(self, windows: Sequence[Tensor]) -> np.ndarray:
        """Embed windows of crops, each (f, 3, R, R) in [-1, 1], as (n, d) vectors of length 1."""
        stacked = torch.stack(list(windows)).to(self._device)
        count = len(stacked)
        frames = self._network_frames(stacked.flatten(0, 1)).unflatten(0, (count, -1)).flatten(1, 2).to(self._dtype)
        parts = [self._syncnet.visual_encoder(part) for part in frames.split(self._batch_windows)]
        return torch.cat(parts).float().cpu().numpy()

    @torch.inference_mode()
    def embed_audio(self, samples: SampleSource, starts: Sequence[int]) -> np.ndarray:
        """Embed the audio of windows that start at these frames (ascending), read from a source of any length.

        Returns:
            (n, d) vectors of length 1; NaN for a window that exceeds the audio.
        """
        end = samples.num_samples // HOP_LENGTH + 1
        columns = [int(COLUMNS_PER_SECOND * start / self.fps) for start in starts]
        inside = [i for i, column in enumerate(columns) if column >= 0 and column + self._num_mel_columns <= end]
        if not inside:
            return np.full((len(starts), 1), np.nan, dtype=np.float32)
        first = max(columns[inside[0]] - _MARGIN_COLUMNS, 0)
        last = min(columns[inside[-1]] + self._num_mel_columns + _MARGIN_COLUMNS, end)
        mel = syncnet_mel(samples.read(first * HOP_LENGTH, min((last - 1) * HOP_LENGTH, samples.num_samples)))
        parts = [mel[:, columns[i] - first : columns[i] - first + self._num_mel_columns] for i in inside]
        embedded = self._syncnet.audio_encoder(torch.stack(parts)[:, None].to(self._device, self._dtype)).float().cpu()
        result = np.full((len(starts), embedded.shape[1]), np.nan, dtype=np.float32)
        result[inside] = embedded.numpy()
        return result

    def _embed_mel(self, mel: Tensor, starts: range) -> Tensor:
        mels = [mel_window(mel, start, self.fps, self._num_mel_columns) for start in starts]
        return self._syncnet.audio_encoder(torch.stack(mels)[:, None].to(self._device, self._dtype))

    def _num_windows(self, num_crops: int, num_columns: int) -> int:
        """Return the number of complete windows; the audio window of frame i starts at column int(80 i / fps)."""
        num_starts = num_columns - self._num_mel_columns + 1
        num_windows = min(num_crops - self.num_frames + 1, -(-num_starts * self.fps // COLUMNS_PER_SECOND))
        if num_windows < 1:
            raise InputError(
                f"sync needs {self.num_frames} frames and {self._num_mel_columns / COLUMNS_PER_SECOND:.2f} s of "
                f"audio, got {num_crops} and {num_columns / COLUMNS_PER_SECOND:.2f} s: give a longer clip"
            )
        return num_windows

    def _video_windows(self, crops: np.ndarray, starts: range) -> Tensor:
        """Return the windows (b, 3 f, h, w) in [-1, 1] that start at the given consecutive frames."""
        needed = np.array(crops[starts[0] : starts[-1] + self.num_frames])
        frames = self._network_frames(torch.from_numpy(needed).to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1)
        windows = [frames[i : i + self.num_frames].flatten(0, 1) for i in range(len(starts))]
        return torch.stack(windows).to(self._dtype)

    def _network_frames(self, frames: Tensor) -> Tensor:
        """Return crops (n, 3, h, w) in [-1, 1] as the network takes them: resized, and their lower half."""
        if frames.shape[-1] != self.resolution:
            frames = _resize(frames, self.resolution)
        return lower_half(frames) if self._lower_half else frames


def load_stable_sync_scorer(
    config: Path,
    checkpoint: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    name: str = "a StableSyncNet",
) -> StableSyncScorer:
    """Load a SyncNet and return its scorer.

    Args:
        config: YAML that the SyncNet was trained with, such as configs/demo/syncnet.yaml.
        checkpoint: its weights.
        device: device of the network.
        dtype: format of the weights.
        name: of the network, for reports.

    Raises:
        ConfigError: the YAML cannot be read, or describes a SyncNet on latents.
        CheckpointError: the weights are missing or damaged, or do not fit.
    """
    model, syncnet_input = _read_pixel_syncnet(config)
    syncnet = load_syncnet(model, checkpoint, device, dtype).requires_grad_(False)
    return StableSyncScorer(syncnet, syncnet_input, name=name)


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


def _resize(frames: Tensor, resolution: int) -> Tensor:
    """Resize frames (n, 3, h, w) as the training clips: area interpolation to shrink, bicubic to enlarge."""
    size = (resolution, resolution)
    if frames.shape[-1] > resolution:
        return F.interpolate(frames, size, mode="area")
    return F.interpolate(frames, size, mode="bicubic", align_corners=False).clamp(-1, 1)


def similarity_curve(similarities: np.ndarray) -> np.ndarray:
    """Return the mean (31,) along the diagonal of each of `SHIFTS`; NaN if it has too few entries.

    Args:
        similarities: (video windows, audio windows).
    """
    num_windows = len(similarities)
    diagonals = [np.diagonal(similarities, shift) if abs(shift) < num_windows else np.zeros(0) for shift in SHIFTS]
    min_values = max(1, math.ceil(_MIN_SHARE * num_windows))
    return np.array([values.mean() if len(values) >= min_values else np.nan for values in diagonals], dtype=np.float64)


def in_sync_similarity(curve: np.ndarray) -> float:
    """Return the similarity at shift 0."""
    return float(curve[MAX_SHIFT])


def score_similarities(curve: np.ndarray) -> SyncScore:
    """Return the score of a `similarity_curve`."""
    best = int(np.nanargmax(curve))
    return SyncScore(-SHIFTS[best], float(curve[best] - np.nanmedian(curve)), float(1 - curve[best]))
