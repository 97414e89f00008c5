import gzip
import json

import numpy as np
import pytest
import torch
from scipy.fft import dct

from latentsync.errors import CheckpointError
from latentsync.judges.syncnet_v2 import SyncNetV2, load_syncnet_v2, mfcc_coefficients, mfcc_windows
from tests.golden_values import det, fill_deterministic


@pytest.fixture(scope="module")
def network() -> SyncNetV2:
    network = SyncNetV2().eval().requires_grad_(False)
    fill_deterministic(network)
    return network


def relative_error(actual: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual.numpy() - expected) / np.linalg.norm(expected))


def test_golden_values(golden_dir, network):
    golden = np.load(golden_dir / "syncnet_v2.npz")
    lips = 110 + det("sn/lip", (2, 3, 5, 224, 224), 60)
    actual = torch.cat([network.embed_lips(window.transpose(0, 1)) for window in lips])
    assert relative_error(actual, golden["lip"]) < 1e-5
    assert relative_error(network.embed_audio(det("sn/aud", (2, 1, 13, 20), 10)), golden["aud"]) < 1e-5


def test_names_and_shapes_are_the_published_ones(golden_dir, network):
    golden = json.loads(gzip.decompress((golden_dir / "syncnet_v2_state_shapes.json.gz").read_bytes()))
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == golden


def test_a_whole_clip_equals_its_windows(network):
    frames = 110 + det("frames", (7, 3, 224, 224), 60)
    together = network.embed_lips(frames)
    one_by_one = torch.cat([network.embed_lips(frames[i : i + 5]) for i in range(3)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


def test_loads_the_published_format(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    loaded = load_syncnet_v2(tmp_path / "syncnet_v2.model")
    assert not loaded.training
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("content", [{"netcnnaud.0.bias": torch.zeros(64)}, {"state_dict": {"a": torch.zeros(1)}}])
def test_another_network_is_a_clear_error(tmp_path, content):
    torch.save(content, tmp_path / "syncnet_v2.model")
    with pytest.raises(CheckpointError, match=r"syncnet_v2.model is not a SyncNet-v2"):
        load_syncnet_v2(tmp_path / "syncnet_v2.model")


def reference(samples: np.ndarray) -> np.ndarray:
    """MFCC (columns, 13) from their definition (Young et al., The HTK Book, 5.4), 16-bit samples."""
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
    coefficients = mfcc_coefficients(samples.astype(np.float32))
    assert coefficients.shape == (13, 99)
    np.testing.assert_allclose(coefficients.T, reference(samples.astype(np.float32)), rtol=1e-4, atol=1e-3)


def test_silence_is_finite():
    assert np.isfinite(mfcc_coefficients(np.zeros(4000, np.float32))).all()


def test_one_complete_window_per_frame():
    coefficients = np.tile(np.arange(99, dtype=np.float32), (13, 1))
    windows = mfcc_windows(coefficients, 20)
    assert windows.shape == (20, 1, 13, 20)
    assert windows[3, 0, 0, 0] == 12
    assert mfcc_windows(coefficients[:, :19], 20).shape == (0, 1, 13, 20)
