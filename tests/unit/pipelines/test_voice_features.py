"""Features of a voice: unchanged by default, without other sound with `silence`, closed after the end of the sound."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.speech_activity import find_speech
from latentsync.audio.speech_only import silence_row
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.media.audio_samples import AudioSamples
from latentsync.pipelines.options import PUBLISHED, LipsyncOptions
from latentsync.pipelines.voice_features import speech_edges, voice_features

RATE = 16000


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(encoder_dimensions(width=16, num_layers=1, num_heads=2)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def speech_and_chords(repository: Path) -> NDArray[np.float32]:
    """Two seconds of speech and four of chords."""
    with AudioSamples.decode(repository / "assets" / "speech" / "voice_1.ogg") as voice:
        spoken = voice.read(RATE, 3 * RATE)
    time_s = np.arange(4 * RATE) / RATE
    chords = sum(0.1 * np.sin(2 * np.pi * f * time_s + np.sin(33 * time_s)) for f in (220, 277, 330, 440, 880))
    return np.concatenate((spoken, chords)).astype(np.float32)


def all_rows(features: object) -> torch.Tensor:
    return features.rows(0, features.num_rows)  # type: ignore[attr-defined]


def test_default_options_change_nothing(encoder: WhisperEncoder, speech_and_chords: NDArray[np.float32]) -> None:
    samples = ArraySamples(speech_and_chords)
    for options in (LipsyncOptions(), LipsyncOptions(exact=True, **PUBLISHED)):  # type: ignore[arg-type]
        rows = voice_features(encoder, samples, None, options, samples.num_samples)
        assert torch.equal(all_rows(rows), all_rows(WhisperFeatures(encoder, samples, options.exact)))
        assert speech_edges(samples, None, options, samples.num_samples) is None


def test_keep_makes_music_equal_to_silence(encoder: WhisperEncoder, speech_and_chords: NDArray[np.float32]) -> None:
    samples, length, options = ArraySamples(speech_and_chords), len(speech_and_chords), LipsyncOptions(silence="keep")
    speech = find_speech(samples)
    assert speech[-1].stop == pytest.approx(2.12 * RATE, abs=0.15 * RATE)
    cut = speech_and_chords.copy()
    cut[speech[-1].stop :] = 0
    off, silent = (all_rows(WhisperFeatures(encoder, ArraySamples(one))) for one in (speech_and_chords, cut))
    kept, later = all_rows(voice_features(encoder, samples, speech, options, length)), slice(130, None)
    assert (kept[later] - silent[later]).abs().mean() < 0.02 * (off[later] - silent[later]).abs().mean()
    edges = speech_edges(samples, speech, options, length)
    assert edges is not None
    assert [edges.is_speech(time_s) for time_s in (1.0, 5.0)] == [True, False]


def test_close_ends_in_the_features_of_silence(encoder: WhisperEncoder, speech_and_chords: NDArray[np.float32]) -> None:
    samples, length, options = ArraySamples(speech_and_chords), len(speech_and_chords), LipsyncOptions(silence="close")
    speech = find_speech(samples)
    rows, row = voice_features(encoder, samples, speech, options, length), silence_row(encoder)
    assert torch.equal(rows.rows(150, 300), row.expand(150, -1, -1))
    assert (rows.rows(20, 60) - row).abs().mean() > 0.01
    edges = speech_edges(samples, speech, options, length)
    assert edges is not None
    assert [edges.is_speech(time_s) for time_s in (1.0, 5.0)] == [True, False]


def test_no_speech_at_all(encoder: WhisperEncoder, speech_and_chords: NDArray[np.float32]) -> None:
    chords = ArraySamples(speech_and_chords[2 * RATE :])
    options = LipsyncOptions(silence="close")
    assert find_speech(chords) == []
    rows = voice_features(encoder, chords, [], options, 4 * RATE)
    assert torch.equal(all_rows(rows), silence_row(encoder).expand(200, -1, -1))
    edges = speech_edges(chords, [], options, 4 * RATE)
    assert edges is not None
    assert not any(edges.is_speech(frame / 25) for frame in range(100))


@pytest.mark.parametrize("silence", ["off", "keep", "close"])
def test_the_mouth_is_closed_after_the_end_of_the_sound(
    encoder: WhisperEncoder, speech_and_chords: NDArray[np.float32], silence: str
) -> None:
    samples = ArraySamples(speech_and_chords[: 2 * RATE])
    options = LipsyncOptions(silence=silence, sync_mode="silence")
    speech = None if silence == "off" else find_speech(samples)
    rows = voice_features(encoder, samples, speech, options, 5 * RATE)
    assert rows.num_rows == 250
    assert torch.equal(rows.rows(120, 250), silence_row(encoder).expand(130, -1, -1))
    edges = speech_edges(samples, speech, options, 5 * RATE)
    assert edges is not None
    assert [edges.is_speech(time_s) for time_s in (1.0, 2.3)] == [True, False]


def test_a_shorter_voice_of_several_is_followed_by_plain_silence(
    encoder: WhisperEncoder, speech_and_chords: NDArray[np.float32]
) -> None:
    samples = ArraySamples(speech_and_chords[: 2 * RATE])
    rows = voice_features(encoder, samples, None, LipsyncOptions(), 3 * RATE)
    expected = WhisperFeatures(encoder, ArraySamples(np.pad(speech_and_chords[: 2 * RATE], (0, RATE))))
    assert torch.equal(all_rows(rows), all_rows(expected))
