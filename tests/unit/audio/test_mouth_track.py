"""Mouth tracks of synthetic vowels, without a speech synthesizer."""

import numpy as np
import pytest

from latentsync.audio.mouth_track import mouth_track, sample_track

RATE = 16000


def vowel(seconds: float, first_hz: float, second_hz: float, level: float) -> np.ndarray:
    """Harmonics of 120 Hz under two formant peaks."""
    t = np.arange(round(seconds * RATE)) / RATE
    wave = np.zeros_like(t)
    for harmonic in np.arange(120.0, 3600.0, 120.0):
        gain = np.exp(-0.5 * ((harmonic - first_hz) / 120) ** 2) + 0.5 * np.exp(
            -0.5 * ((harmonic - second_hz) / 200) ** 2
        )
        wave += gain * np.sin(2 * np.pi * harmonic * t)
    return (level * wave / np.abs(wave).max()).astype(np.float32)


SILENCE = np.zeros(RATE // 2, dtype=np.float32)
OPEN, CLOSED_EE, OO = vowel(0.5, 750, 1200, 0.6), vowel(0.5, 320, 2400, 0.4), vowel(0.5, 320, 800, 0.4)


def test_silence_is_a_closed_neutral_mouth() -> None:
    track = mouth_track(np.zeros(RATE, dtype=np.float32))
    assert track.shape == (101, 2)
    assert (track == np.array([0.0, 0.5], dtype=np.float32)).all()


def test_pauses_close_the_mouth_and_open_vowels_open_it() -> None:
    track = mouth_track(np.concatenate([SILENCE, OPEN, SILENCE, CLOSED_EE, SILENCE]))
    middle = {name: track[k] for name, k in zip("sasis", (25, 75, 125, 175, 225), strict=True)}
    assert track[25, 0] < 0.02
    assert track[125, 0] < 0.02
    assert track[125, 1] == pytest.approx(0.5, abs=0.02)
    assert middle["a"][0] > 0.8
    assert middle["a"][0] > middle["i"][0] + 0.3


def test_spread_vowels_are_wider_than_rounded_ones() -> None:
    track = mouth_track(np.concatenate([SILENCE, CLOSED_EE, SILENCE, OO, SILENCE]))
    assert track[75, 1] > 0.8
    assert track[175, 1] < 0.3


def test_opening_does_not_depend_on_the_recording_level() -> None:
    sound = np.concatenate([SILENCE, OPEN, SILENCE, CLOSED_EE, OO])
    np.testing.assert_allclose(mouth_track(sound), mouth_track(sound * 0.2), atol=1e-3)


def test_opening_follows_energy_over_time() -> None:
    steps = np.repeat([1.0, 0.1, 0.6, 0.02], 4000).astype(np.float32)
    loudness = np.interp(np.arange(RATE * 2), np.arange(len(steps)) * 2, steps).astype(np.float32)
    track = mouth_track(vowel(2.0, 600, 1300, 0.9) * loudness)
    at = track[[25, 75, 125, 175], 0]
    assert at[0] > at[2] > at[1] > at[3]


def test_sampling_is_linear_and_holds_at_the_ends() -> None:
    track = np.array([[0.0, 0.5], [1.0, 0.7]], dtype=np.float32)
    sampled = sample_track(track, np.array([-1.0, 0.0, 0.005, 0.01, 9.0]))
    np.testing.assert_allclose(sampled, [[0, 0.5], [0, 0.5], [0.5, 0.6], [1, 0.7], [1, 0.7]], atol=1e-6)
