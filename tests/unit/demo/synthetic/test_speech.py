"""Synthetic speech: reproducible, of the requested length, and a missing espeak-ng is named."""

import numpy as np
import pytest

from demo.synthetic import speech
from demo.synthetic.speech import Voice, random_speech, speak
from latentsync.audio.mouth_track import mouth_track
from latentsync.errors import ToolError


@pytest.mark.needs_espeak
def test_speech_is_reproducible_has_its_length_and_pauses() -> None:
    first, second = (random_speech(np.random.default_rng(2), 3.0, True) for _ in range(2))
    assert first.text == second.text
    assert (first.samples == second.samples).all()
    assert first.samples.shape == (48000,)
    assert np.abs(first.samples).max() > 0.3
    track = mouth_track(first.samples)
    assert track[:, 0].max() > 0.8
    assert (track[:, 0] < 0.02).mean() > 0.03


def test_a_missing_speech_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="espeak-ng"):
        speak("hello", Voice("en-us", "m1", 50, 160))
