import gzip
import json

import numpy as np
import pytest
import torch

from latentsync.errors import CheckpointError
from latentsync.judges.syncnet_v2 import SyncNetV2, load_syncnet_v2
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
    assert relative_error(network.embed_sound(det("sn/aud", (2, 1, 13, 20), 10)), golden["aud"]) < 1e-5


def test_names_and_shapes_are_the_published_ones(golden_dir, network):
    golden = json.loads(gzip.decompress((golden_dir / "syncnet_v2_state_shapes.json.gz").read_bytes()))
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == golden


def test_a_whole_clip_gives_what_its_windows_give(network):
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
