"""The mix of several people's speech."""

import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from latentsync.errors import InputError
from latentsync.media.mixing import mix_audio


def tone(path: Path, seconds: float, level: float, rate: int, channels: int = 1) -> Path:
    samples = np.full((round(seconds * rate), channels), level)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_the_mix_is_the_sum_and_as_long_as_the_longest(tmp_path: Path):
    parts = [tone(tmp_path / "a b.wav", 0.5, 0.25, 16000), tone(tmp_path / "c.wav", 1.0, 0.5, 48000)]
    rate, samples = wavfile.read(mix_audio(parts, tmp_path))
    assert (rate, samples.dtype, samples.ndim) == (48000, np.float32, 1)
    assert len(samples) == pytest.approx(48000, abs=2)
    assert samples[12000] == pytest.approx(0.75, abs=0.01)
    assert samples[40000] == pytest.approx(0.5, abs=0.01)


def test_a_sum_beyond_full_scale_is_made_quieter_as_a_whole(tmp_path: Path):
    parts = [tone(tmp_path / "a.wav", 0.5, 0.8, 16000, 2), tone(tmp_path / "b.wav", 1.0, 0.8, 16000)]
    mixed = mix_audio(parts, tmp_path)
    _, samples = wavfile.read(mixed)
    assert samples.ndim == 2
    assert np.abs(samples).max() == pytest.approx(1.0, abs=1e-3)
    assert samples[12000].max() == pytest.approx(samples[4000].max() / 2, abs=0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "b.wav", mixed.name]


def test_a_file_without_sound_is_named(tmp_path: Path):
    (tmp_path / "text.wav").write_text("words")
    with pytest.raises(InputError, match=r"text\.wav"):
        mix_audio([tone(tmp_path / "a.wav", 0.5, 0.1, 16000), tmp_path / "text.wav"], tmp_path)
