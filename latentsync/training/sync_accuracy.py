"""Accuracy of a SyncNet on clips: in-sync against shifted audio of the same clip, and the offset it reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from latentsync.audio.mel import mel_window
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.syncnet_dataset import SyncNetDataConfig
from latentsync.data.video_window import model_pixels
from latentsync.device import training_dtype
from latentsync.training.syncnet_step import stacked_frames

MAX_OFFSET_FRAMES = 15
"""Largest offset in either direction when the best one is searched."""
_BATCH_WINDOWS = 32
_NUM_THRESHOLDS = 199


@dataclass(frozen=True)
class ClipScores:
    """Cosine similarities of one clip.

    Attributes:
        positive: (n,) of video windows and their own audio.
        negative: (m,) of video windows and audio of the clip at least `min_offset_frames` away.
        offset: frames by which the audio lags behind the video at the best mean similarity, -15 to 15.
    """

    positive: np.ndarray
    negative: np.ndarray
    offset: int


class SyncAccuracy:
    """Score clips with a SyncNet.

    Args:
        features: cached features of the clips.
        data: windows, and the smallest distance of a negative.
        windows_per_clip: video windows per clip, evenly spaced; each is compared with all audio windows of the clip.
    """

    def __init__(self, features: ClipFeatures, data: SyncNetDataConfig, windows_per_clip: int) -> None:
        self.features, self.data, self.windows_per_clip = features, data, windows_per_clip

    @torch.no_grad()
    def score(self, syncnet: nn.Module, clip: TrainingClip) -> ClipScores:
        """Return the similarities of one clip; the network runs in the training dtype of its device."""
        shift = self.data.audio_offset_frames
        first, last = max(0, -shift), clip.num_frames - self.data.num_frames - max(0, shift)
        audio_starts = np.arange(first, last + 1)
        num_windows = min(self.windows_per_clip, len(audio_starts))
        video_starts = np.unique(np.linspace(first, last, num_windows).round().astype(int))
        device = next(syncnet.parameters()).device
        audio = self._embed_audio(syncnet, clip, audio_starts + shift, device)
        video = self._embed_video(syncnet, clip, video_starts, device)
        similarity = (video @ audio.T).clamp(0, 1).cpu().numpy()
        offsets = audio_starts - video_starts[:, None]
        far = np.abs(offsets) >= self.data.min_offset_frames
        return ClipScores(similarity[offsets == 0], similarity[far], best_offset(similarity, offsets))

    def _embed_audio(
        self, syncnet: nn.Module, clip: TrainingClip, starts: np.ndarray, device: torch.device
    ) -> torch.Tensor:
        mel, data = self.features.mel(clip), self.data
        parts = []
        for batch in _batches(starts):
            windows = [
                mel_window(mel, int(start), data.video_fps, data.num_mel_columns, repeat_last=True) for start in batch
            ]
            parts.append(_embed(syncnet, "audio_encoder", torch.from_numpy(np.stack(windows)[:, None]).to(device)))
        return torch.cat(parts)

    def _embed_video(
        self, syncnet: nn.Module, clip: TrainingClip, starts: np.ndarray, device: torch.device
    ) -> torch.Tensor:
        length = self.data.num_frames
        frames = self._frames(clip)
        parts = []
        for batch in _batches(starts):
            windows = np.stack([self._window(frames[start : start + length]) for start in batch])
            parts.append(_embed(syncnet, "visual_encoder", stacked_frames(torch.from_numpy(windows).to(device))))
        return torch.cat(parts)

    def _frames(self, clip: TrainingClip) -> np.ndarray:
        if self.data.latent_space:
            return self.features.latents(clip)[:, 0]
        return self.features.frames(clip, self.data.lower_half)

    def _window(self, frames: np.ndarray) -> np.ndarray:
        return frames.astype(np.float32) if self.data.latent_space else model_pixels(frames)


def accuracy_metrics(scores: Sequence[ClipScores]) -> dict[str, float]:
    """Return the metrics of many clips.

    Returns:
        sync_loss: cross-entropy; positives and negatives have equal weight, here and in the accuracies.
        accuracy: at threshold 0.5.
        best_accuracy, best_threshold: at the best threshold for these clips.
        accepted: share of positives above 0.5.
        refused: share of negatives at or below 0.5.
        area_under_curve: probability that a positive scores above a negative.
        offset_zero: share of clips whose best offset is 0.
    """
    positive = np.concatenate([one.positive for one in scores]).astype(np.float64)
    negative = np.concatenate([one.negative for one in scores]).astype(np.float64)
    accepted, refused = float((positive > 0.5).mean()), float((negative <= 0.5).mean())
    thresholds = np.linspace(0, 1, _NUM_THRESHOLDS + 2)[1:-1]
    accuracies = [(float((positive > one).mean()) + float((negative <= one).mean())) / 2 for one in thresholds]
    best = int(np.argmax(accuracies))
    inner = 1e-4 + (1 - 2e-4) * positive, 1e-4 + (1 - 2e-4) * negative
    return {
        "sync_loss": float(-(np.log(inner[0]).mean() + np.log(1 - inner[1]).mean()) / 2),
        "accuracy": (accepted + refused) / 2,
        "best_accuracy": accuracies[best],
        "best_threshold": float(thresholds[best]),
        "accepted": accepted,
        "refused": refused,
        "area_under_curve": area_under_curve(positive, negative),
        "offset_zero": float(np.mean([one.offset == 0 for one in scores])),
    }


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the probability that a positive scores above a negative; ties count half (Mann-Whitney statistic)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    up_to = np.searchsorted(ordered, positive, side="right")
    return float((below + up_to).mean() / 2 / len(negative))


def best_offset(similarity: np.ndarray, offsets: np.ndarray) -> int:
    """Return the offset from -15 to 15 with the highest mean similarity; both arrays are (video, audio) windows."""
    candidates = [one for one in range(-MAX_OFFSET_FRAMES, MAX_OFFSET_FRAMES + 1) if (offsets == one).any()]
    return max(candidates, key=lambda one: float(similarity[offsets == one].mean()))


def _embed(syncnet: nn.Module, encoder: str, windows: torch.Tensor) -> torch.Tensor:
    device = windows.device
    dtype = training_dtype(device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return syncnet.get_submodule(encoder)(windows).float()


def _batches(starts: np.ndarray) -> list[np.ndarray]:
    return [starts[begin : begin + _BATCH_WINDOWS] for begin in range(0, len(starts), _BATCH_WINDOWS)]


class SyncNetValidator:
    """Validate a SyncNet on held-out clips; see `latentsync.training.training_step.Validator`.

    Args:
        accuracy: scores one clip.
        clips: held-out clips.
    """

    def __init__(self, accuracy: SyncAccuracy, clips: Sequence[TrainingClip]) -> None:
        self.accuracy, self.clips = accuracy, list(clips)

    def __call__(self, model: nn.Module, folder: Path, global_step: int) -> dict[str, float]:
        """Return the `accuracy_metrics` of the clips; no file is written."""
        return accuracy_metrics([self.accuracy.score(model, clip) for clip in self.clips])
