"""Synthetic speech: reproducible, of the requested length, and a missing espeak-ng is named."""

from pathlib import Path

import numpy as np
import pytest

from demo.synthetic import speech
from demo.synthetic.speech import Voice, random_speech, speak, write_voices
from latentsync.audio.mouth_track import mouth_track
from latentsync.errors import InputError, ToolError
from latentsync.judges.crop_measures import correlation
from latentsync.media.audio_samples import AudioSamples


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


@pytest.mark.needs_espeak
def test_voices_are_small_files_that_say_what_was_synthesized(tmp_path: Path) -> None:
    write_voices(tmp_path / "voices", 2, 2.0, seed=5)
    paths = sorted((tmp_path / "voices").iterdir())
    assert [path.name for path in paths] == ["voice_1.ogg", "voice_2.ogg"]
    original = random_speech(np.random.default_rng([5, 2]), 2.0, feminine=True).samples
    with AudioSamples.decode(paths[1]) as sound:
        decoded = sound.read(0, sound.num_samples)
    assert paths[1].stat().st_size < 8000
    with pytest.raises(InputError, match=r"voice_1\.ogg exists"):
        write_voices(tmp_path / "voices", 2, 2.0, seed=6)
    assert correlation(mouth_track(decoded)[:200, 0], mouth_track(original)[:200, 0]) > 0.99


def test_a_missing_speech_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="espeak-ng"):
        speak("hello", Voice("en-us", "m1", 50, 160))
