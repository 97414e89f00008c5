"""Low-rank changes of a U-Net: they train alone, and merging their file gives the same network."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from latentsync.errors import CheckpointError, ConfigError
from latentsync.models.checkpoint import base_record, load_unet, save_checkpoint
from latentsync.models.lora import LoraConfig, LoraUNet, target_layers, trained_unet
from latentsync.models.lora_file import save_lora
from tests.golden_values import det
from tests.unit.models.tiny_unet import tiny_config, tiny_inputs, tiny_unet

TIME = torch.tensor([7, 400])


def lora_unet(dtype: torch.dtype = torch.float32, **settings) -> LoraUNet:
    torch.manual_seed(0)
    return LoraUNet(tiny_unet(), LoraConfig(**{"rank": 2, "alpha": 3.0, **settings}), dtype)


def filled(network: LoraUNet) -> LoraUNet:
    """Give every low-rank weight a value other than zero, as a training does."""
    for name, weight in network.adapter_weights().items():
        weight.data = 0.3 * det(f"lora/{name}", tuple(weight.shape))
    return network


@pytest.fixture
def base(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "base.pt", tiny_unet().state_dict(), 0)
    return tmp_path / "base.pt"


@pytest.fixture
def adapter(base: Path) -> Path:
    path = base.with_name("lora.safetensors")
    network, config = filled(lora_unet()), LoraConfig(2, 3.0)
    save_lora(path, network.state_dict(), config, base_record(base), 5, {"resolution": 64})
    return path


def test_it_starts_as_the_base():
    torch.testing.assert_close(lora_unet()(*_inputs()), tiny_unet()(*_inputs()), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_changes_the_result_and_leaves_the_base_bit_equal(dtype: torch.dtype):
    network = lora_unet(dtype)
    before = {name: weight.clone() for name, weight in network.named_parameters() if ".lora_" not in name}
    first = network(*_inputs()).detach()
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(3):
        network(*_inputs()).float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert {weight.dtype for weight in trained} == {torch.float32}
    assert {weight.dtype for weight in before.values()} == {dtype}
    assert not torch.equal(network(*_inputs()), first)
    after = dict(network.named_parameters())
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert set(map(id, trained)) == set(map(id, network.adapter_weights().values()))


@pytest.mark.parametrize("target", ["to_q", "to_k", "to_v", "to_out", "conv_in", "conv1", "conv_shortcut", "conv_out"])
def test_every_kind_of_layer_takes_part(target: str):
    network = filled(lora_unet(targets=[target]))
    assert not torch.allclose(network(*_inputs()), tiny_unet()(*_inputs()), atol=1e-4)


def test_it_computes_the_same_without_gradients():
    """In inference on a CPU large inputs take the fused form of the layers, which reads their weights."""
    network = filled(lora_unet())
    sample, audio = tiny_inputs(size=64)
    assert sample[:, :4].nbytes * 4 > 512 << 10, "large enough for the fused form"
    with torch.no_grad():
        without = network(sample, TIME, audio)
        directly = trained_unet(network)(sample, TIME, trained_unet(network).prepare_audio(audio))
    torch.testing.assert_close(without, network(sample, TIME, audio), rtol=1e-4, atol=1e-5)
    assert torch.equal(directly, without)
    assert not torch.allclose(without, tiny_unet()(sample, TIME, audio), atol=1e-3)


def test_merged_at_load_it_equals_the_unmerged_network(adapter: Path):
    merged = load_unet(tiny_config(), adapter, resolution=64)
    torch.testing.assert_close(merged(*_inputs()), filled(lora_unet())(*_inputs()), rtol=0, atol=1e-5)
    assert not torch.allclose(merged(*_inputs()), tiny_unet()(*_inputs()), atol=1e-3)
    half = load_unet(tiny_config(), adapter, dtype=torch.bfloat16)
    weight = "mid_block.resnets.0.conv1.weight"
    assert torch.equal(half.state_dict()[weight], merged.state_dict()[weight].bfloat16()), "added in float32"


def test_the_state_has_the_low_rank_weights_only_and_restores_them():
    network, other = filled(lora_unet()), lora_unet()
    state = network.state_dict()
    assert {name.rpartition(".")[2] for name in state} == {"lora_A", "lora_B"}
    assert state["mid_block.resnets.0.conv1.lora_A"].shape == (2, 32, 3, 3)
    other.load_state_dict(state)
    assert all(torch.equal(weight, state[name]) for name, weight in other.state_dict().items())
    with pytest.raises(RuntimeError, match="missing"):
        other.load_state_dict({name: state[name] for name in list(state)[1:]})


def test_the_targets_name_layers():
    with pytest.raises(ConfigError, match="no layer's name contains 'to_x'"):
        target_layers(tiny_unet(), ["to_q", "to_x"])
    with pytest.raises(ConfigError, match="contains all layers"):
        target_layers(tiny_unet(), ["attn2."], frozen=["attn2."])
    assert not any("attn2." in name for name in target_layers(tiny_unet(), ["to_k"], frozen=["attn2."]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank lies in"),
        ({"rank": -4}, "rank lies in"),
        ({"rank": 2000}, "rank lies in"),
        ({"rank": 4, "alpha": 0.0}, "alpha is above 0"),
        ({"rank": 4, "alpha": float("nan")}, "alpha is above 0"),
        ({"rank": 4, "targets": []}, "targets: name at least one"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        LoraConfig(**settings)


def rewrite(path: Path, tensors: Callable[[dict], dict] = dict, **metadata: str) -> None:
    with safe_open(path, framework="pt") as file:
        kept, weights = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors(weights), path, kept | metadata)


LAYER = "mid_block.resnets.0.conv1"
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-8]), "missing or damaged"),
    "empty": (lambda path: path.write_bytes(b""), "missing or damaged"),
    "changed base": (lambda path: save_checkpoint(path.with_name("base.pt"), {}, 1), "has other contents"),
    "no base": (lambda path: path.with_name("base.pt").unlink(), "base.pt, which is missing"),
    "no header": (lambda path: rewrite(path, rank=""), "damaged header"),
    "base without hash": (lambda path: rewrite(path, base='{"path": "base.pt"}'), "damaged record of its base"),
    "later version": (lambda path: rewrite(path, version="2"), "another version"),
    "other rank": (lambda path: rewrite(path, rank="3"), "two matrices of rank 3"),
    "half a layer": (
        lambda path: rewrite(path, lambda weights: {k: v for k, v in weights.items() if k != f"{LAYER}.lora_B"}),
        "two matrices of rank 2",
    ),
    "unknown layer": (
        lambda path: rewrite(path, lambda weights: {k.replace("mid_block", "no_block"): v for k, v in weights.items()}),
        "which its base lacks",
    ),
    "other shape": (
        lambda path: rewrite(path, lambda weights: weights | {f"{LAYER}.lora_B": torch.zeros(5, 2, 1, 1)}),
        r"shape \(5, 32, 3, 3\)",
    ),
    "no channels": (
        lambda path: rewrite(path, lambda weights: weights | {f"{LAYER}.lora_B": torch.zeros(0, 2, 1, 1)}),
        r"shape \(0, 32, 3, 3\)",
    ),
    "kernel in the second matrix": (
        lambda path: rewrite(path, lambda weights: weights | {f"{LAYER}.lora_B": torch.zeros(32, 2, 3, 3)}),
        "with a kernel",
    ),
    "not finite": (
        lambda path: rewrite(path, lambda weights: weights | {f"{LAYER}.lora_B": torch.full((32, 2, 1, 1), torch.nan)}),
        "NaN or infinity",
    ),
    "nothing": (lambda path: rewrite(path, lambda weights: {}), "has no weights"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_used_is_one_line(adapter: Path, fault: str):
    damage, message = FAULTS[fault]
    damage(adapter)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_unet(tiny_config(), adapter)
    assert "\n" not in str(caught.value)


def test_the_file_says_what_it_is(adapter: Path, base: Path):
    with safe_open(adapter, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["rank"], metadata["alpha"], metadata["global_step"]) == ("2", "3.0", "5")
    assert json.loads(metadata["base"])["content"] == base_record(base)["base"]["content"]
    with pytest.raises(CheckpointError, match="made for 64 px"):
        load_unet(tiny_config(), adapter, resolution=128)


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sample, audio = tiny_inputs()
    return sample, TIME, audio
