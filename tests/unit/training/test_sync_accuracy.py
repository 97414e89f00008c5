from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from latentsync.data.clip_check import TrainingClip
from latentsync.data.syncnet_dataset import SyncNetDataConfig
from latentsync.training.sync_accuracy import ClipScores, SyncAccuracy, accuracy_metrics, area_under_curve, best_offset

NUM_FRAMES = 60


class Features:
    """Stand-in for the feature cache: frame i has brightness 4 i, and the first mel row counts frames."""

    def frames(self, clip: TrainingClip, only_lower_half: bool) -> np.ndarray:
        assert only_lower_half
        brightness = np.arange(clip.num_frames, dtype=np.uint8) * 4
        return np.tile(brightness[:, None, None, None], (1, 2, 4, 3))

    def mel(self, clip: TrainingClip) -> np.ndarray:
        columns = np.arange(int(clip.num_frames * 3.2))
        return np.tile((columns / 3.2).astype(np.float32), (80, 1))


class FirstFrame(nn.Module):
    """Two encoders that embed the time of a window's first frame, from video and from audio, as a direction."""

    def __init__(self, delay: int = 0) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.visual_encoder = Reader(lambda frames: (frames[:, 0, 0, 0] + 1) * 127.5 / 4)
        self.audio_encoder = Reader(lambda mel: (mel[:, 0, 0, 0] - delay).clamp(min=0))


class Reader(nn.Module):
    def __init__(self, read_time) -> None:
        super().__init__()
        self.read_time = read_time

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        distance = self.read_time(window.float()).round()[:, None] - torch.arange(NUM_FRAMES + 20)
        return nn.functional.normalize(torch.exp(-(distance**2) / 4), dim=1)


def accuracy(**changes) -> SyncAccuracy:
    data = SyncNetDataConfig(resolution=4, num_frames=5, num_mel_columns=16, min_offset_frames=3, **changes)
    return SyncAccuracy(Features(), data, windows_per_clip=4)  # type: ignore[arg-type]


CLIP = TrainingClip(Path("clip.mp4"), NUM_FRAMES, "0" * 40)


def test_every_picture_meets_all_far_sounds_of_its_clip():
    scores = accuracy().score(FirstFrame(), CLIP)
    assert scores.offset == 0
    assert scores.positive == pytest.approx(np.ones(4), abs=0.02)
    num_starts = NUM_FRAMES - 5 + 1
    # The first and the last picture have neighbours on one side only.
    assert len(scores.negative) == 4 * num_starts - 2 * 3 - 2 * 5
    assert scores.negative.max() < 0.4


def test_a_delay_of_the_sound_is_found():
    assert accuracy().score(FirstFrame(delay=2), CLIP).offset == 2
    assert accuracy(audio_offset_frames=2).score(FirstFrame(delay=2), CLIP).offset == 0
    assert accuracy(audio_offset_frames=-2).score(FirstFrame(), CLIP).offset == 2


def test_figures_by_hand():
    scores = [
        ClipScores(np.array([0.9, 0.4]), np.array([0.1, 0.2, 0.3]), 0),
        ClipScores(np.array([0.6, 0.8]), np.array([0.45, 0.552, 0.05]), 3),
    ]
    result = accuracy_metrics(scores)
    assert result["accepted"] == 0.75
    assert result["refused"] == pytest.approx(5 / 6)
    assert result["accuracy"] == pytest.approx((0.75 + 5 / 6) / 2)
    assert result["best_accuracy"] == (0.75 + 1) / 2
    assert 0.55 < result["best_threshold"] < 0.6
    assert result["offset_zero"] == 0.5
    positive, negative = np.array([0.9, 0.4, 0.6, 0.8]), np.array([0.1, 0.2, 0.3, 0.45, 0.552, 0.05])
    expected = -(np.log(positive).mean() + np.log(1 - negative).mean()) / 2
    assert result["sync_loss"] == pytest.approx(expected, rel=1e-3)
    wins = np.mean([[p > n for n in negative] for p in positive])
    assert result["area_under_curve"] == pytest.approx(wins)


def test_ties_count_half():
    assert area_under_curve(np.array([0.5, 0.5]), np.array([0.5, 0.1])) == 0.75


def test_offset_outside_the_clip_is_not_looked_at():
    offsets = np.array([[0, 1, 2], [-1, 0, 1]])
    assert best_offset(np.array([[0.1, 0.2, 0.9], [0.5, 0.1, 0.2]]), offsets) == 2
