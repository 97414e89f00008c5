"""Measures of adaptations that need no training."""

import numpy as np
import pytest

from benchmarks.adaptation import CHECK_S, FPS, read_voices
from latentsync.adaptation.speech_bank import read_speech, speech_mouths
from latentsync.weights import REPOSITORY_ROOT


def test_the_opening_of_several_voices_is_the_mean_correlation():
    speech = REPOSITORY_ROOT / "assets" / "speech"
    voices = {name: read_speech(speech / f"{name}.ogg", CHECK_S) for name in ("voice_7", "voice_8")}
    expected = {name: speech_mouths(samples, CHECK_S * FPS)[:, 0] for name, samples in voices.items()}

    def value(openings: dict[str, np.ndarray]) -> float:
        crops = {name: np.asarray(opening) for name, opening in openings.items()}
        return read_voices(crops, voices, lambda crops: crops, "reader")["opening of two voices, reader"]

    assert value(expected) == pytest.approx(1)
    assert value({"voice_7": expected["voice_7"], "voice_8": 1 - expected["voice_8"]}) == pytest.approx(0, abs=1e-6)
