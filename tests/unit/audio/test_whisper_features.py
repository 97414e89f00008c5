"""Features of long audio: no drift, no seams, no chunk computed twice; mel slices; tokens of video frames."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import gelu
from whisper.audio import log_mel_spectrogram

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures, WhisperMel, frame_rows, frame_tokens
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.errors import InputError

RATE = 16000


class CountingEncoder:
    """Forward calls to an encoder and count them."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        self.encoder = encoder
        self.device, self.dtype = encoder.device, encoder.dtype
        self.num_calls = 0

    def __call__(self, mel: Tensor) -> Tensor:
        self.num_calls += 1
        return self.encoder(mel)


def clicks(duration_s: float, times_s: list[float]) -> NDArray[np.float32]:
    """Return faint noise with a loud 40 ms burst at each time."""
    generator = np.random.default_rng(0)
    samples = generator.standard_normal(int(duration_s * RATE)).astype(np.float32) * 1e-4
    for time_s in times_s:
        start = int(time_s * RATE)
        samples[start : start + 640] += generator.standard_normal(640).astype(np.float32) * 0.3
    return samples


@pytest.mark.parametrize("num_samples", [16000, 16000 * 3 + 160, 16000 * 30])
def test_up_to_thirty_seconds_is_one_padded_chunk(small_encoder: WhisperEncoder, num_samples: int) -> None:
    samples = np.random.default_rng(0).standard_normal(num_samples).astype(np.float32) * 0.1
    mel = log_mel_spectrogram(samples)
    padded = torch.nn.functional.pad(mel, (0, 3000 - mel.shape[1]))
    features = WhisperFeatures(small_encoder, ArraySamples(samples))
    assert features.num_rows == mel.shape[1] // 2
    expected = small_encoder(padded[None])[0, : features.num_rows]
    torch.testing.assert_close(features.rows(0, features.num_rows), expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def long_sound() -> tuple[list[float], NDArray[np.float32]]:
    """Three minutes with bursts at irregular times, further apart than the context of a frame."""
    times = np.cumsum(np.random.default_rng(3).uniform(1.1, 2.7, 200))
    times_s = [float(time) for time in times if time < 178]
    return times_s, clicks(180.013, times_s)


def test_three_minutes_do_not_drift(small_encoder: WhisperEncoder, long_sound) -> None:
    """Without positions the stem is local, so every row must be that of convolutions over the whole file."""
    samples = long_sound[1]
    encoder = WhisperEncoder(small_encoder.dims).eval()
    encoder.encoder.positional_embedding.zero_()
    features = WhisperFeatures(encoder, ArraySamples(samples))
    assert features.num_rows == 9000
    with torch.no_grad():
        mel = log_mel_spectrogram(samples)[None, :, :18000]
        stem = gelu(encoder.encoder.conv2(gelu(encoder.encoder.conv1(mel))))[0].T
    torch.testing.assert_close(features.rows(0, 9000)[:, 0], stem[:9000], rtol=0, atol=1e-5)


def test_bursts_change_the_tokens_of_their_own_frames(small_encoder: WhisperEncoder, long_sound) -> None:
    """Frames whose ten rows hold a burst, and no others, differ from the frame before or after."""
    times_s, samples = long_sound
    encoder = WhisperEncoder(small_encoder.dims).eval()
    encoder.encoder.positional_embedding.zero_()
    features = WhisperFeatures(encoder, ArraySamples(samples))
    stem = features.rows(0, features.num_rows)[:, :1].detach()
    loud = (stem - stem.median(dim=0).values).norm(dim=-1, keepdim=True)

    class Loudness:
        num_rows = features.num_rows

        def rows(self, start: int, stop: int) -> Tensor:
            return loud[start:stop]

    level = frame_tokens(Loudness(), range(180 * 25), 25).mean(dim=(1, 2))
    threshold = level.median() + 0.25 * (level.max() - level.median())
    for time_s in times_s:
        first = int(time_s * 25) - 12
        heard = [frame for frame in range(first, first + 25) if level[frame] > threshold]
        # The middle of the 40 ms burst against the middle of a frame's ten rows, 0.02 s after its start.
        assert abs(np.mean(heard) / 25 - time_s) <= 0.03, time_s


def test_middle_of_long_audio_equals_its_own_thirty_seconds(small_encoder: WhisperEncoder, long_sound) -> None:
    """The middle of the fourth chunk (60-90 s) equals the encoder's output for that part of the file's mel."""
    samples = long_sound[1]
    mel = log_mel_spectrogram(samples)
    features = WhisperFeatures(small_encoder, ArraySamples(samples))
    expected = small_encoder(mel[None, :, 6000:9000])[0, 300:1200]
    torch.testing.assert_close(features.rows(3300, 4200), expected, rtol=0, atol=1e-5)


def test_published_chunks_do_not_overlap_and_the_last_is_padded(small_encoder: WhisperEncoder) -> None:
    samples = np.random.default_rng(1).standard_normal(16000 * 65).astype(np.float32) * 0.1
    mel = log_mel_spectrogram(samples)
    pieces = [torch.nn.functional.pad(part, (0, 3000 - part.shape[1])) for part in mel.split(3000, dim=1)]
    expected = torch.cat([small_encoder(piece[None])[0] for piece in pieces])[: mel.shape[1] // 2]
    features = WhisperFeatures(small_encoder, ArraySamples(samples), as_published=True)
    assert features.num_rows == len(expected) == 3250
    torch.testing.assert_close(features.rows(0, 3250), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(features.rows(1490, 1510), expected[1490:1510], rtol=0, atol=1e-5)
    default = WhisperFeatures(small_encoder, ArraySamples(samples))
    assert (default.rows(1490, 1510) - expected[1490:1510]).abs().max() > 1e-3


def test_seams_are_smooth(small_encoder: WhisperEncoder) -> None:
    samples = np.random.default_rng(0).standard_normal(75 * RATE + 77).astype(np.float32) * 0.1
    features = WhisperFeatures(small_encoder, ArraySamples(samples))
    rows = features.rows(0, features.num_rows)
    steps = (rows[1:] - rows[:-1]).norm(dim=-1)
    seams = [features._seam(index) for index in range(len(features._starts) - 1)]
    assert seams == [1250, 2250, 2875]
    elsewhere = torch.quantile(steps, 0.99, dim=0)
    for seam in seams:
        assert (steps[seam - 40 : seam + 40] <= 1.1 * elsewhere).all()


def test_rows_do_not_depend_on_how_they_are_read(small_encoder: WhisperEncoder, long_sound) -> None:
    features = WhisperFeatures(small_encoder, ArraySamples(long_sound[1][: 70 * RATE]))
    whole = features.rows(0, features.num_rows)
    for start, stop in ((1230, 1270), (1249, 1250), (0, 1237), (1263, 1290), (100, 3400), (3499, 3500)):
        torch.testing.assert_close(features.rows(start, stop), whole[start:stop], rtol=0, atol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
def test_sequential_reading_computes_each_chunk_once(small_encoder: WhisperEncoder, backwards: bool) -> None:
    encoder = CountingEncoder(small_encoder)
    samples = np.random.default_rng(0).standard_normal(130 * RATE).astype(np.float32)
    features = WhisperFeatures(encoder, ArraySamples(samples))  # type: ignore[arg-type]
    frames = range(130 * 25)
    for frame in reversed(frames) if backwards else frames:
        frame_tokens(features, [frame], 25)
    assert encoder.num_calls == len(features._starts) == 6
    assert len(features._chunks) <= 3


def test_rows_outside_are_rejected(small_encoder: WhisperEncoder) -> None:
    features = WhisperFeatures(small_encoder, ArraySamples(np.zeros(RATE)))
    with pytest.raises(ValueError, match="outside"):
        features.rows(40, 51)


def test_half_precision(small_encoder: WhisperEncoder) -> None:
    encoder = WhisperEncoder(small_encoder.dims, torch.bfloat16).eval()
    features = WhisperFeatures(encoder, ArraySamples(np.zeros(40 * RATE)))
    assert features.rows(1200, 1300).dtype == torch.bfloat16


def test_frame_rows() -> None:
    assert frame_rows(100, 25, 1000) == list(range(196, 206))
    assert frame_rows(0, 25, 1000) == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert frame_rows(10**6, 25, 50) == [49] * 10
    assert frame_rows(7, 30, 1000)[4] == 11


def test_token_order_is_rows_then_layers(small_encoder: WhisperEncoder) -> None:
    samples = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    features = WhisperFeatures(small_encoder, ArraySamples(samples))
    tokens = frame_tokens(features, [20, 0], 25)
    assert tokens.shape == (2, 30, 64)
    torch.testing.assert_close(tokens[0].reshape(10, 3, 64), features.rows(36, 46))
    torch.testing.assert_close(tokens[1, :3], features.rows(0, 1)[0])


@pytest.mark.parametrize("num_samples", [320, 480, 16000, 16000 * 61 + 77, 16000 * 125 + 159])
def test_mel_slices_equal_whispers_own_of_the_whole_file(num_samples: int) -> None:
    generator = np.random.default_rng(0)
    loudness = np.repeat(generator.random(num_samples // 4000 + 1), 4000)[:num_samples] ** 4
    samples = (generator.standard_normal(num_samples) * 0.2 * loudness).astype(np.float32)
    whole = log_mel_spectrogram(samples)
    mel = WhisperMel(ArraySamples(samples))
    assert mel.num_frames == whole.shape[1]
    cuts = sorted({0, mel.num_frames, *generator.integers(0, mel.num_frames, 7).tolist()})
    pieces = [mel.frames(start, stop) for start, stop in pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-5)


def test_too_short_audio_is_rejected() -> None:
    with pytest.raises(InputError, match="20 ms"):
        WhisperMel(ArraySamples(np.zeros(319)))


def test_mel_frames_outside_are_rejected() -> None:
    mel = WhisperMel(ArraySamples(np.zeros(1600)))
    with pytest.raises(ValueError, match="outside"):
        mel.frames(5, 11)


def test_array_samples_are_zero_outside() -> None:
    source = ArraySamples(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(source.read(-2, 5), [0, 0, 1, 2, 3, 0, 0])
    np.testing.assert_array_equal(source.read(7, 9), [0, 0])
