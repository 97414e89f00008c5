"""The bank of speech: features and mouths of recordings, frame by frame."""

import wave
from pathlib import Path

import numpy as np
import pytest

from latentsync.adaptation import speech_bank
from latentsync.adaptation.speech_bank import build_bank, read_speech, speech_mouths
from latentsync.audio.mouth_track import mouth_track
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures, frame_tokens
from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder
from latentsync.errors import InputError
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT

VOICES = [REPOSITORY_ROOT / "assets" / "speech" / f"voice_{number}.ogg" for number in (1, 2)]


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    return load_whisper_encoder(CHECKPOINTS / "demo" / "whisper.pt")


def test_every_frame_has_the_tokens_and_the_mouth_of_its_recording(encoder: WhisperEncoder):
    bank = build_bank(VOICES, encoder)
    lengths = []
    for path in VOICES:
        samples = read_speech(path, 60.0)
        num_frames, first = len(samples) * 25 // 16000, sum(lengths)
        features = WhisperFeatures(encoder, ArraySamples(samples))
        frames = np.array([0, 7, num_frames // 2, num_frames - 1])
        expected = frame_tokens(features, frames.tolist(), 25).numpy()
        np.testing.assert_allclose(bank.tokens(first + frames), expected, atol=2e-2)  # stored in half precision
        np.testing.assert_array_equal(bank.mouths[first : first + num_frames], speech_mouths(samples, num_frames))
        lengths.append(num_frames)
    assert np.flatnonzero(bank.is_start).tolist() == [0, lengths[0]]
    assert len(bank) == sum(lengths)


def test_a_draw_has_the_mouths_and_another_draw_other_moments(encoder: WhisperEncoder):
    bank = build_bank(VOICES, encoder)
    seen = bank.mouths[100:116]
    draws = [bank.draw(seen, np.random.default_rng(seed)) for seed in range(6)]
    errors = [float(np.abs(bank.mouths[draw] - seen)[:, 0].mean()) for draw in draws]
    assert max(errors) < 0.12 < float(np.abs(bank.mouths[200:216] - seen)[:, 0].mean())
    assert len({tuple(draw.tolist()) for draw in draws}) >= 3
    again = bank.draw(seen, np.random.default_rng(0))
    assert again.tolist() == draws[0].tolist()


def test_a_rest_of_less_than_a_second_is_not_read(encoder: WhisperEncoder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speech_bank, "MAX_SECONDS", 12.5)
    assert np.flatnonzero(build_bank(VOICES, encoder).is_start).tolist() == [0]


def test_the_bundled_voices_speak():
    for path in sorted((REPOSITORY_ROOT / "assets" / "speech").iterdir()):
        track = mouth_track(read_speech(path, 60.0))
        assert track[:, 0].std() > 0.2
        assert track[:, 1].std() > 0.1


@pytest.mark.parametrize(("seconds", "message"), [(0.5, "lasts less than a second"), (2.0, "is silent")])
def test_speech_that_cannot_be_used(tmp_path: Path, seconds: float, message: str):
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as target:
        target.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
        target.writeframes(bytes(2 * round(16000 * seconds)))
    with pytest.raises(InputError, match=message):
        read_speech(path, 60.0)
