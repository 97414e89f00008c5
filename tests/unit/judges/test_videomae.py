import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.videomae_memory import saved_bytes
from latentsync.errors import CheckpointError
from latentsync.judges.videomae import (
    VideoFeatures,
    VideoMaeSize,
    load_published_videomae,
    load_small_videomae,
    save_small_videomae,
)
from tests.golden_values import det, deterministic_value, fill_deterministic

GOLDEN_SIZE = VideoMaeSize(width=64, depth=3, num_heads=4, mlp_width=279)
TINY_SIZE = VideoMaeSize(
    image_size=16, patch_size=8, tubelet_size=2, num_frames=4, width=16, depth=1, num_heads=2, mlp_width=24
)


def published_shapes(size: VideoMaeSize) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published file of this size, as listed in ../shared/golden/trepa_state_shapes.json."""
    width, hidden = size.width, size.mlp_width
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, size.tubelet_size, size.patch_size, size.patch_size),
        "patch_embed.proj.bias": (width,),
        "fc_norm.weight": (width,),
        "fc_norm.bias": (width,),
        "head.weight": (5, width),
        "head.bias": (5,),
    }
    for index in range(size.depth):
        block = {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.q_bias": (width,),
            "attn.v_bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (hidden, width),
            "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden),
            "mlp.fc2.bias": (width,),
        }
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    return shapes


def published_weights(size: VideoMaeSize) -> dict[str, torch.Tensor]:
    return {name: deterministic_value(name, torch.empty(shape)) for name, shape in published_shapes(size).items()}


@pytest.fixture(scope="module")
def golden_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "videomae.pth"
    torch.save({"module": published_weights(GOLDEN_SIZE)}, path)
    return path


@pytest.fixture(scope="module")
def golden_network(golden_file) -> VideoFeatures:
    return load_published_videomae(golden_file, size=GOLDEN_SIZE)


def test_golden_features_and_loss(golden_network, golden_dir):
    golden = np.load(golden_dir / "trepa.npz")
    features = {}
    for name in ("fake", "real"):
        frames = torch.tanh(det(f"trepa/{name}", (2, 3, 16, 64, 64))).transpose(1, 2)
        features[name] = golden_network(frames)
        wanted = torch.from_numpy(golden[f"feat_{name}"])
        assert (features[name] - wanted).norm() / wanted.norm() < 1e-5
    loss = F.mse_loss(F.normalize(features["fake"], dim=1), F.normalize(features["real"], dim=1))
    assert float(loss) == pytest.approx(float(golden["loss"]), rel=1e-4)


def test_epsilons_and_exact_gelu():
    network = VideoFeatures(TINY_SIZE)
    layer = network.encoder.encoder.layer[0]
    assert {layer.layernorm_before.eps, layer.layernorm_after.eps, network.fc_norm.eps} == {1e-6}
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(layer.intermediate.intermediate_act_fn(x), F.gelu(x, approximate="none"))


@pytest.mark.parametrize("key", ["model", None])
def test_weights_are_found_under_either_key_and_at_the_top(key, tmp_path):
    weights = published_weights(TINY_SIZE)
    torch.save({key: weights} if key else weights, tmp_path / "videomae.pth")
    network = load_published_videomae(tmp_path / "videomae.pth", size=TINY_SIZE)
    key_weight = network.encoder.encoder.layer[0].attention.attention.key.weight
    torch.testing.assert_close(key_weight, weights["blocks.0.attn.qkv.weight"][16:32])


def test_the_default_size_is_the_published_vit_g():
    config = VideoMaeSize().transformers_config()
    assert (config.image_size, config.patch_size, config.num_frames, config.tubelet_size) == (224, 14, 16, 2)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1408, 40, 16)
    assert config.intermediate_size == 6144


def test_parameters_are_frozen_and_gradients_reach_the_frames(golden_network):
    assert not golden_network.training
    assert not any(parameter.requires_grad for parameter in golden_network.parameters())
    network = load_tiny()
    frames = torch.zeros(1, 4, 3, 32, 32, requires_grad=True)
    network(frames)[0, 0].backward()
    assert frames.grad is not None
    assert frames.grad.abs().sum() > 0


def load_tiny() -> VideoFeatures:
    return fill_deterministic(VideoFeatures(TINY_SIZE)).eval().requires_grad_(False)


def test_another_size_or_a_missing_block_is_an_error(golden_file):
    with pytest.raises(CheckpointError, match=r"blocks\.3"):
        load_published_videomae(golden_file, size=VideoMaeSize(width=64, depth=4, num_heads=4, mlp_width=279))
    with pytest.raises(CheckpointError, match="other shapes"):
        load_published_videomae(golden_file, size=VideoMaeSize(width=64, depth=3, num_heads=4, mlp_width=280))


def test_small_file_round_trip_in_half_precision(tmp_path):
    network = load_tiny()
    save_small_videomae(tmp_path / "small.pt", TINY_SIZE, network.state_dict(), global_step=3)
    loaded = load_small_videomae(tmp_path / "small.pt")
    assert loaded.size == TINY_SIZE
    frames = torch.tanh(det("small", (2, 4, 3, 32, 32)))
    torch.testing.assert_close(loaded(frames), network(frames), atol=5e-3, rtol=5e-3)
    content = torch.load(tmp_path / "small.pt", weights_only=True)
    assert {tensor.dtype for tensor in content["state_dict"].values() if tensor.ndim > 1} == {torch.float16}


@pytest.mark.parametrize("fault", ["missing", "text", "no_config", "bad_size", "short"])
def test_unusable_small_files_are_one_line(fault, tmp_path):
    path = tmp_path / "small.pt"
    state = VideoFeatures(TINY_SIZE).state_dict()
    save_small_videomae(path, TINY_SIZE, state)
    content = torch.load(path, weights_only=True)
    if fault == "missing":
        path.unlink()
    elif fault == "text":
        path.write_text(json.dumps({"config": {}}))
    elif fault == "no_config":
        torch.save({"state_dict": content["state_dict"]}, path)
    elif fault == "bad_size":
        torch.save(content | {"config": content["config"] | {"patch_size": 5}}, path)
    else:
        content["state_dict"].pop("fc_norm.bias")
        torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        load_small_videomae(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recomputed_activations_give_the_same_gradient_with_less_memory(repository: Path):
    network = load_small_videomae(repository / "checkpoints" / "demo" / "videomae.pt")
    frames = torch.tanh(det("recomputed", (1, network.size.num_frames, 3, 128, 128)))
    gradients, kept = [], []
    for recompute in (False, True):
        network.recompute = recompute
        leaf = frames.clone().requires_grad_()
        network(leaf).square().sum().backward()
        gradients.append(leaf.grad)
        kept.append(saved_bytes(network, frames))
    assert torch.equal(*gradients)
    assert gradients[0].norm() > 0
    assert kept[1] < kept[0] / 3
    with torch.no_grad():
        recomputed = network(frames)
        network.recompute = False
        assert torch.equal(network(frames), recomputed)
