"""Audio without what is not speech: exact zeros, fades within the hangover, and features of silence between speech."""

import numpy as np
import pytest
import torch
from torch import Tensor

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.speech_activity import HANGOVER_S, SpeechInterval
from latentsync.audio.speech_only import FADE_S, ROW_FADE_S, ClosedMouthRows, SpeechEdges, SpeechOnly, silence_row
from latentsync.audio.whisper_features import WhisperFeatures, frame_tokens
from latentsync.audio.whisper_model import WhisperEncoder

RATE = 16000
SPEECH = [SpeechInterval(4000, 9000), SpeechInterval(12000, 20000)]


@pytest.fixture
def noise() -> ArraySamples:
    return ArraySamples(np.random.default_rng(0).uniform(-1, 1, 30000).astype(np.float32))


def test_only_speech_is_left(noise: ArraySamples) -> None:
    only = SpeechOnly(noise, SPEECH)
    assert only.num_samples == noise.num_samples
    samples, original = only.read(0, 30000), noise.read(0, 30000)
    fade = round(FADE_S * RATE)
    silent, unchanged = np.ones(30000, bool), np.zeros(30000, bool)
    for one in SPEECH:
        silent[one.start : one.stop] = False
        unchanged[one.start + fade : one.stop - fade] = True
    assert not samples[silent].any()
    np.testing.assert_array_equal(samples[unchanged], original[unchanged])
    gain = samples[4000 : 4000 + fade] / original[4000 : 4000 + fade]
    np.testing.assert_allclose(gain, (np.arange(fade) + 0.5) / fade, atol=1e-4)
    gain = samples[9000 - fade : 9000] / original[9000 - fade : 9000]
    np.testing.assert_allclose(gain, (np.arange(fade) + 0.5)[::-1] / fade, atol=1e-4)


def test_fades_lie_in_the_hangover() -> None:
    assert FADE_S < HANGOVER_S


def test_random_access_equals_reading_the_whole(noise: ArraySamples) -> None:
    only = SpeechOnly(noise, SPEECH)
    whole = only.read(-100, 30100)
    for start in (-100, 0, 3990, 4100, 8990, 11000, 29900):
        np.testing.assert_array_equal(only.read(start, start + 200), whole[start + 100 : start + 300])
    assert len(only.read(50, 50)) == 0


def test_speech_that_fills_the_audio_is_unchanged(noise: ArraySamples) -> None:
    """The ends of the audio are no edges."""
    only = SpeechOnly(noise, [SpeechInterval(0, 30000)])
    np.testing.assert_array_equal(only.read(0, 30000), noise.read(0, 30000))


def test_speech_has_its_first_sample_and_not_the_one_after_it() -> None:
    edges = SpeechEdges(SPEECH, 20000)
    times = np.array([0, 3999, 4000, 8999, 9000, 12000, 20000]) / RATE
    assert edges.is_speech(times).tolist() == [False, False, True, True, False, True, True]
    assert not edges.is_speech(0.1)
    assert not SpeechEdges([], 100).is_speech(np.zeros(3)).any()


def test_audio_without_speech_is_silent(noise: ArraySamples) -> None:
    assert not SpeechOnly(noise, []).read(0, 30000).any()


class Ones:
    """Feature rows of one layer, all 1."""

    num_rows = 94

    def rows(self, start: int, stop: int) -> Tensor:
        return torch.ones(stop - start, 1, 2)


def test_features_fade_to_silence_outside_speech() -> None:
    rows = ClosedMouthRows(Ones(), torch.full((1, 2), 3.0), SpeechEdges(SPEECH, 30000)).rows(0, 94)
    values = (rows[:, 0, 0] - 1) / 2
    centres = (np.arange(94) + 0.5) * 320
    expected = [min(max(min(distance(c, one) for one in SPEECH) / (ROW_FADE_S * RATE), 0), 1) for c in centres]
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-6)
    assert {0.0, 1.0} < set(np.round(values.numpy(), 3).tolist())


def distance(position: float, interval: SpeechInterval) -> float:
    return max(interval.start - position, position - interval.stop)


def test_features_of_speech_are_the_same_tensor() -> None:
    features = Ones()
    rows = ClosedMouthRows(features, torch.zeros(1, 2), SpeechEdges([SpeechInterval(0, 30000)], 30000)).rows(3, 90)
    assert torch.equal(rows, features.rows(3, 90))


def test_frames_far_from_speech_have_equal_tokens(small_encoder: WhisperEncoder, noise: ArraySamples) -> None:
    """Constant tokens move no mouth; those of plain digital silence depend on the position."""
    silence = silence_row(small_encoder)
    features = WhisperFeatures(small_encoder, SpeechOnly(noise, SPEECH[:1]))
    closed = ClosedMouthRows(features, silence, SpeechEdges(SPEECH[:1], noise.num_samples))
    tokens = frame_tokens(closed, range(22, 40), 25)
    assert torch.equal(tokens, silence.repeat(10, 1)[None].expand_as(tokens))
    assert frame_tokens(features, range(22, 40), 25).std(dim=0).max() > 0.01
    assert torch.equal(frame_tokens(closed, [10], 25), frame_tokens(features, [10], 25))
