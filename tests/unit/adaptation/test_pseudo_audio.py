"""Audio of footage from a bank of speech."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.adaptation.mouth_matching import Mouths
from latentsync.adaptation.pseudo_audio import PseudoAudio
from latentsync.data.clip_check import TrainingClip

NUM_DRAWS = 200


class Bank:
    """Bank whose tokens are 1."""

    def draw(self, footage: Mouths, rng: np.random.Generator) -> np.ndarray:
        return np.arange(len(footage))

    def tokens(self, frames: np.ndarray) -> np.ndarray:
        return np.ones((len(frames), 1, 1), np.float32)


def own_audio(clip: TrainingClip, start: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens that are 0."""
    return np.zeros((num_frames, 1, 1), np.float32)


def clip(key: str) -> TrainingClip:
    return TrainingClip(Path(f"{key}.mp4"), 40, key)


@pytest.mark.parametrize(("own_share", "expected"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_the_own_sound_has_its_share_of_the_windows(own_share: float, expected: float):
    mouths = {"person": np.zeros((40, 2), np.float32)}
    audio = PseudoAudio(Bank(), mouths, own_audio, own_share)  # pyright: ignore[reportArgumentType]
    rng = np.random.default_rng(0)
    windows = [audio(clip("person"), 3, 16, rng) for _ in range(NUM_DRAWS)]
    assert {window.shape for window in windows} == {(16, 1, 1)}
    assert 1 - np.mean(windows) == pytest.approx(expected, abs=0.07)
    assert not np.any([audio(clip("another"), 3, 16, rng) for _ in range(20)])
