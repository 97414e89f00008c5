import json

import numpy as np
import pytest
import torch

from latentsync.models.stable_syncnet import StableSyncNet, SyncEncoderConfig, SyncNetConfig, strided_padding
from tests.golden_values import det, fill_deterministic


def encoder_config(published: dict) -> SyncEncoderConfig:
    factors = [factor if isinstance(factor, list) else [factor, factor] for factor in published["downsample_factors"]]
    return SyncEncoderConfig(**{**published, "downsample_factors": factors})


def test_golden_values(golden_dir):
    golden = json.loads((golden_dir / "syncnet_attn.json").read_text())
    config = SyncNetConfig(**{name: encoder_config(stack) for name, stack in golden["config"].items()})
    syncnet = fill_deterministic(StableSyncNet(config))
    with torch.no_grad():
        vision, audio = syncnet(
            det("syncnet_attn/frames", tuple(golden["frames"])), det("syncnet_attn/mel", tuple(golden["mel"]))
        )
    expected = np.load(golden_dir / "syncnet_attn.npz")
    for name, actual in (("vision", vision), ("audio", audio)):
        error = np.linalg.norm(actual.numpy() - expected[name]) / np.linalg.norm(expected[name])
        assert error < 1e-5, name


@pytest.mark.parametrize(
    ("factors", "padding"),
    [((2, 2), (0, 1, 0, 1)), ((1, 2), (0, 1, 1, 1)), ((2, 1), (1, 1, 0, 1)), ((2, 3), (0, 1, 0, 1))],
)
def test_strided_padding(factors, padding):
    assert strided_padding(factors) == padding


def test_small_network_gives_unit_vectors():
    audio = SyncEncoderConfig(1, [16, 32], [[2, 1], [2, 3]], norm_num_groups=8)
    visual = SyncEncoderConfig(6, [16, 32], [[2, 2], [1, 1]], [0, 1], norm_num_groups=8)
    embeddings = StableSyncNet(SyncNetConfig(audio, visual))(torch.randn(2, 6, 8, 16), torch.randn(2, 1, 8, 12))
    assert embeddings[0].shape == (2, 32 * 4 * 8)
    assert embeddings[1].shape == (2, 32 * 2 * 4)
    assert torch.allclose(embeddings[0].norm(dim=1), torch.ones(2))
    assert (embeddings[0] >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, [32, 64], [[2, 2]]), "as many downsample_factors"),
        ((1, [33], [[2, 2]]), "33 is not a multiple"),
        ((1, [32], [[2]]), "pairs"),
    ],
)
def test_wrong_configurations_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyncEncoderConfig(*arguments)
