"""Augmentation of frames and speech."""

import numpy as np
import pytest

from latentsync.data.augmentation import change_colour, change_speech, random_colour
from tests.unit.data.clips import speech


def test_no_strength_changes_no_colour() -> None:
    frames = np.random.default_rng(0).random((2, 4, 4, 3))
    matrix, offset, gamma = random_colour(np.random.default_rng(1), 0.0)
    np.testing.assert_allclose(change_colour(frames, matrix, offset, gamma), frames, atol=1e-6)


def test_a_colour_change_is_the_affine_map_clipped_and_bent() -> None:
    frames = np.random.default_rng(0).random((3, 5, 4, 3))
    matrix, offset, gamma = random_colour(np.random.default_rng(2), 1.0)
    changed = change_colour(frames, matrix, offset, gamma)
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert np.abs(changed - frames).mean() > 0.02
    expected = np.clip(matrix @ frames[1, 2, 3] + offset, 0, 1) ** gamma
    np.testing.assert_allclose(changed[1, 2, 3], expected, atol=1e-5)


def test_a_hue_turn_keeps_grey_grey() -> None:
    for seed in range(20):
        matrix, offset, gamma = random_colour(np.random.default_rng(seed), 1.0)
        gain = matrix @ np.ones(3)
        assert 0.69 < gain.min() <= gain.max() < 1.26
        assert abs(offset[0]) <= 0.12
        assert 0.7 <= gamma[0] <= 1.4


def test_changed_sound_keeps_length_range_and_timing() -> None:
    samples = speech(1.0)
    samples[4000:8000] = 0
    for seed in range(5):
        changed = change_speech(samples, np.random.default_rng(seed))
        assert changed.shape == samples.shape
        assert changed.dtype == np.float32
        assert np.abs(changed).max() <= 1
        loudness = np.square(changed).reshape(-1, 500).mean(1)
        assert loudness[9:15].max() < 0.2 * loudness[[*range(7), *range(17, 32)]].mean()
        assert (changed == change_speech(samples, np.random.default_rng(seed))).all()
    assert change_speech(np.zeros(1000), np.random.default_rng(0)) == pytest.approx(np.zeros(1000), abs=1e-3)
