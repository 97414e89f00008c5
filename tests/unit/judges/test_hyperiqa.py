import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import CheckpointError
from latentsync.judges.hyperiqa import PUBLISHED_WEIGHTS, HyperIqa, load_hyperiqa
from latentsync.weights import locate
from tests.golden_values import det, fill_deterministic


@pytest.fixture(scope="module")
def network() -> HyperIqa:
    network = HyperIqa().eval().requires_grad_(False)
    fill_deterministic(network)
    return network


def test_golden_value(golden_dir, network):
    golden = np.load(golden_dir / "hyperiqa.npz")["score"]
    pictures = det("hi/x", (3, 3, 224, 224))
    scores = network(pictures[:2])
    assert scores.shape == (2,)
    np.testing.assert_allclose(scores[:1].numpy(), golden, rtol=1e-5)
    assert abs(scores[1] - scores[0]) > 0.01
    torch.testing.assert_close(network(pictures[1:2]), scores[1:], rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_the_published_ones(golden_dir):
    golden = json.loads(gzip.decompress((golden_dir / "hyperiqa_state_shapes.json.gz").read_bytes()))
    with torch.device("meta"):
        network = HyperIqa()
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == golden


def test_loads_the_published_format(tmp_path: Path, network):
    torch.save(network.state_dict(), tmp_path / "koniq.pkl", _use_new_zipfile_serialization=False)
    loaded = load_hyperiqa(tmp_path / "koniq.pkl")
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_another_network_is_a_clear_error(tmp_path: Path):
    torch.save({"res.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "koniq.pkl")
    with pytest.raises(CheckpointError, match=r"koniq.pkl does not fit the network, it lacks"):
        load_hyperiqa(tmp_path / "koniq.pkl")


def test_the_published_file_is_asked_for_with_its_remedy(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"koniq_pretrained.pkl is missing: .*download_weights --training"):
        locate(PUBLISHED_WEIGHTS, tmp_path)
