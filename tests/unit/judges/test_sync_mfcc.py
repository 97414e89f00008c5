import numpy as np
from scipy.fft import dct

from latentsync.judges.mfcc import sound_windows, speech_coefficients


def reference(samples: np.ndarray) -> np.ndarray:
    """MFCC (columns, 13) written down from their definition (Young et al., The HTK Book, 5.4), 16-bit samples."""
    signal = np.round(samples * 32768)
    signal = np.concatenate([signal[:1], signal[1:] - 0.97 * signal[:-1]])
    num_columns = 1 + -(-(len(signal) - 400) // 160)
    signal = np.pad(signal, (0, 160 * num_columns + 400 - len(signal)))
    power = np.stack([np.abs(np.fft.rfft(signal[160 * i : 160 * i + 400], 512)) ** 2 / 512 for i in range(num_columns)])
    top = 2595 * np.log10(1 + 8000 / 700)
    edges = np.floor(513 * 700 * (10 ** (np.linspace(0, top, 28) / 2595) - 1) / 16000)
    bins = np.arange(257)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.where(bins < edges[1:-1], rising, falling) * ((bins >= edges[:-2]) & (bins < edges[2:]))
    cepstrum = dct(np.log(power @ filters), axis=1, norm="ortho")[:, :13]
    cepstrum *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstrum[:, 0] = np.log(power.sum(axis=1))
    return cepstrum


def test_coefficients_match_their_definition():
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(16000) * np.linspace(0.2, 1, 16000)
    coefficients = speech_coefficients(samples.astype(np.float32))
    assert coefficients.shape == (13, 99)
    np.testing.assert_allclose(coefficients.T, reference(samples.astype(np.float32)), rtol=1e-4, atol=1e-3)


def test_silence_is_finite():
    assert np.isfinite(speech_coefficients(np.zeros(4000, np.float32))).all()


def test_one_window_a_frame_inside_the_sound():
    coefficients = np.tile(np.arange(99, dtype=np.float32), (13, 1))
    windows = sound_windows(coefficients, 20)
    assert windows.shape == (20, 1, 13, 20)
    assert windows[3, 0, 0, 0] == 12
    assert sound_windows(coefficients[:, :19], 20).shape == (0, 1, 13, 20)
