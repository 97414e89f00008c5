"""The sliced log-mel against whisper's own on the whole file."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from whisper.audio import log_mel_spectrogram

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_mel import WhisperMel
from latentsync.errors import InputError


@pytest.mark.parametrize("num_samples", [320, 480, 16000, 16000 * 61 + 77, 16000 * 125 + 159])
def test_slices_equal_the_whole(num_samples: int) -> None:
    generator = np.random.default_rng(0)
    loudness = np.repeat(generator.random(num_samples // 4000 + 1), 4000)[:num_samples] ** 4
    samples = (generator.standard_normal(num_samples) * 0.2 * loudness).astype(np.float32)
    whole = log_mel_spectrogram(samples)
    mel = WhisperMel(ArraySamples(samples))
    assert mel.num_frames == whole.shape[1]
    cuts = sorted({0, mel.num_frames, *generator.integers(0, mel.num_frames, 7).tolist()})
    pieces = [mel.frames(start, stop) for start, stop in pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-5)


def test_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="20 ms"):
        WhisperMel(ArraySamples(np.zeros(319)))


def test_outside_is_refused() -> None:
    mel = WhisperMel(ArraySamples(np.zeros(1600)))
    with pytest.raises(ValueError, match="outside"):
        mel.frames(5, 11)


def test_array_samples_are_zero_outside() -> None:
    source = ArraySamples(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(source.read(-2, 5), [0, 0, 1, 2, 3, 0, 0])
    np.testing.assert_array_equal(source.read(7, 9), [0, 0])
