import logging
import os
import pickle
from dataclasses import replace

import pytest
import torch

from latentsync.errors import CheckpointError
from latentsync.models.checkpoint import (
    base_record,
    check_unet,
    load_syncnet,
    load_unet,
    save_checkpoint,
)
from latentsync.models.stable_syncnet import StableSyncNet, SyncEncoderConfig, SyncNetConfig
from latentsync.models.unet import UNet3DConditionModel
from latentsync.storage.weight_file import read_weight_file
from tests.golden_values import fill_deterministic
from tests.unit.models.tiny_unet import tiny_config, tiny_inputs, tiny_unet

MOTION = ("motion_modules.",)


@pytest.fixture
def published(tmp_path):
    """A file in the published format: global_step and state_dict, nothing else."""
    path = tmp_path / "my weights" / "latentsync_unet.pt"
    path.parent.mkdir()
    torch.save({"global_step": 7, "state_dict": tiny_unet().state_dict()}, path)
    return path


def changed(path, change):
    """Apply a function to the weights of a file and return its path."""
    content = torch.load(path, weights_only=True)
    change(content["state_dict"])
    torch.save(content, path)
    return path


def refusal(*arguments, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_unet(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_published_format_loads(published):
    sample, audio = tiny_inputs()
    unet = load_unet(tiny_config(), published)
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in unet.parameters())
    with torch.no_grad():
        assert torch.allclose(unet(sample, 9, audio), tiny_unet()(sample, 9, audio), atol=1e-5)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_any_stored_dtype_loads_as_any_other(tmp_path, stored, wanted):
    path = tmp_path / "u.pt"
    save_checkpoint(path, tiny_unet().state_dict(), 3, dtype=stored)
    unet = load_unet(tiny_config(), path, dtype=wanted)
    assert {tensor.dtype for tensor in unet.state_dict().values()} == {wanted}


def test_other_audio_width_is_refused_for_inference(published):
    message = refusal(tiny_config(cross_attention_dim=384), published)
    assert "made for audio width 12, model.cross_attention_dim says 384" in message


def test_known_audio_width_names_the_whisper_size(tmp_path):
    path = tmp_path / "u.pt"
    save_checkpoint(path, tiny_unet(cross_attention_dim=768).state_dict(), 0)
    assert "768 (whisper small), model.cross_attention_dim says 12" in refusal(tiny_config(), path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 7}, "in channels 13, model.in_channels says 7"),
        ({"out_channels": 3}, "out channels 4, model.out_channels says 3"),
        ({"block_out_channels": [16, 48]}, "has other shapes"),
        ({"layers_per_block": 2}, "lacks"),
        ({"use_motion_module": False}, "has unknown"),
    ],
)
def test_other_sizes_are_refused(published, changes, message):
    assert message in refusal(tiny_config(**changes), published)


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({"cross_attention_dim": 384}, ("attn2.to_k", "attn2.to_v")),
        ({"in_channels": 7}, ("conv_in",)),
        ({"out_channels": 3}, ("conv_out",)),
    ],
)
def test_training_may_start_new_layers(published, caplog, changes, fresh):
    config = tiny_config(**changes)
    with caplog.at_level(logging.WARNING):
        unet = load_unet(config, published, allow_new_layers=True)
    assert "start from initial values" in caplog.text
    old = tiny_unet().state_dict()
    for name, tensor in unet.state_dict().items():
        is_fresh = any(part in name for part in fresh)
        assert is_fresh or torch.equal(tensor, old[name]), name
    assert unet.config["cross_attention_dim"] == config.cross_attention_dim


def test_training_still_refuses_every_other_mismatch(published):
    changed(published, lambda weights: weights.pop("mid_block.resnets.0.conv1.weight"))
    message = refusal(tiny_config(cross_attention_dim=384), published, allow_new_layers=True)
    assert "lacks mid_block.resnets.0.conv1.weight" in message


def test_stage_two_may_start_from_stage_one(tmp_path, caplog):
    path = tmp_path / "stage1.pt"
    save_checkpoint(path, tiny_unet(use_motion_module=False).state_dict(), 0)
    assert "motion_modules" in refusal(tiny_config(), path)
    with caplog.at_level(logging.WARNING):
        unet = load_unet(tiny_config(), path, allow_missing=("motion_modules.",))
    assert "start from initial values: down_blocks.0.motion_modules.0" in caplog.text
    assert not unet.down_blocks[0].motion_modules[0].temporal_transformer.proj_out.weight.any()


def test_stage_one_may_start_from_stage_two(published, caplog):
    config = tiny_config(use_motion_module=False)
    with caplog.at_level(logging.WARNING):
        unet = load_unet(config, published, allow_unused=MOTION)
    num_motion = sum("motion_modules." in name for name in tiny_unet().state_dict())
    assert f"{num_motion} tensors have no place in this network: down_blocks.0.motion_modules.0" in caplog.text
    old = tiny_unet().state_dict()
    assert all(torch.equal(tensor, old[name]) for name, tensor in unet.state_dict().items())


def test_decoder_only_motion_modules_start_from_all_of_them_and_back(published, tmp_path):
    decoder_only = tiny_config(motion_module_decoder_only=True)
    load_unet(decoder_only, published, allow_unused=MOTION)
    path = tmp_path / "decoder.pt"
    save_checkpoint(path, tiny_unet(motion_module_decoder_only=True).state_dict(), 0)
    unet = load_unet(tiny_config(), path, allow_missing=MOTION).state_dict()
    old = tiny_unet(motion_module_decoder_only=True).state_dict()
    assert all(torch.equal(unet[name], tensor) for name, tensor in old.items())


def test_an_incomplete_motion_module_is_refused_even_if_whole_ones_may_be_missing(published):
    name = "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.bias"
    changed(published, lambda weights: weights.pop(name))
    assert f"lacks {name}" in refusal(tiny_config(), published, allow_missing=MOTION, allow_unused=MOTION)


def test_an_unknown_tensor_in_a_motion_module_is_refused_even_if_whole_ones_may_be_unused(published):
    name = "down_blocks.0.motion_modules.0.surplus"
    changed(published, lambda weights: weights.update({name: torch.zeros(1)}))
    assert f"has unknown {name}" in refusal(tiny_config(), published, allow_missing=MOTION, allow_unused=MOTION)


def test_names_and_shapes_are_compared_without_loading(published, tmp_path):
    check_unet(tiny_unet(), tiny_config(), published)
    config = tiny_config(block_out_channels=[16, 48])
    with pytest.raises(CheckpointError) as caught:
        check_unet(
            tiny_unet(block_out_channels=[16, 48]),
            config,
            published,
            allow_new_layers=True,
            allow_missing=MOTION,
            allow_unused=MOTION,
        )
    assert str(caught.value) == refusal(config, published)


def test_missing_and_extra_names_are_listed(published):
    changed(published, lambda weights: weights.pop("conv_out.bias"))
    assert "lacks conv_out.bias" in refusal(tiny_config(), published)
    changed(published, lambda weights: weights.update({"conv_out.bias": torch.zeros(4), "surplus": torch.zeros(1)}))
    assert "has unknown surplus" in refusal(tiny_config(), published)


def test_recorded_resolution_must_fit(tmp_path):
    path = tmp_path / "u.pt"
    save_checkpoint(path, tiny_unet().state_dict(), 5, {"config": {"resolution": 128}})
    assert isinstance(load_unet(tiny_config(), path, resolution=128), UNet3DConditionModel)
    assert "made for 128 px, the configuration says data.resolution 256" in refusal(tiny_config(), path, resolution=256)
    assert read_weight_file(path)["global_step"] == 5


class Code:
    """Creates a folder when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("as_zip", [True, False])
def test_code_in_a_pickle_is_refused_and_never_run(tmp_path, as_zip):
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    content = {"global_step": 1, "state_dict": Code(trace)}
    if as_zip:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    assert "refused" in refusal(tiny_config(), path)
    assert not trace.exists()


def test_unusable_files_are_named(published, tmp_path):
    whole = published.read_bytes()
    empty, text = tmp_path / "empty.pt", tmp_path / "text.pt"
    empty.touch()
    text.write_text("these are not the weights you are looking for\n")
    assert "does not exist" in refusal(tiny_config(), tmp_path / "none.pt")
    assert "is a folder" in refusal(tiny_config(), tmp_path)
    assert "is empty" in refusal(tiny_config(), empty)
    assert str(text) in refusal(tiny_config(), text)
    for length in (1, 2, 100, len(whole) // 2, len(whole) - 1):
        published.write_bytes(whole[:length])
        assert str(published) in refusal(tiny_config(), published), length


@pytest.mark.parametrize("content", [{"weights": 1}, {"state_dict": [1, 2]}, {"state_dict": {"a": 1}}, [1, 2]])
def test_files_of_another_kind_are_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    assert "give a LatentSync .pt file" in refusal(tiny_config(), path)


def test_saving_is_atomic(tmp_path):
    path = tmp_path / "u.pt"
    save_checkpoint(path, {"a": torch.ones(2)}, 1)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(path, {"a": torch.zeros(2)}, 2, {"bad": lambda: None})
    assert read_weight_file(path)["global_step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["u.pt"]


def test_syncnet_round_trip(tmp_path):
    audio = SyncEncoderConfig(1, [16, 32], [[2, 1], [2, 3]], norm_num_groups=8)
    config = SyncNetConfig(audio, SyncEncoderConfig(6, [16, 32], [[2, 2], [2, 2]], norm_num_groups=8))
    path = tmp_path / "stable_syncnet.pt"
    syncnet = fill_deterministic(StableSyncNet(config))
    losses = {"train_step_list": [1], "train_loss_list": [0.7], "val_step_list": [], "val_loss_list": []}
    save_checkpoint(path, syncnet.state_dict(), 2, losses)
    again = load_syncnet(config, path)
    assert all(torch.equal(a, b) for a, b in zip(syncnet.parameters(), again.parameters(), strict=True))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_syncnet(replace(config, audio_encoder=replace(audio, block_out_channels=[16, 64])), path)


@pytest.fixture
def overlay(published):
    """A file of one changed tensor, beside the file that it changes."""
    path = published.with_name("changes.pt")
    weights = {"conv_out.bias": torch.arange(4.0)}
    save_checkpoint(path, weights, 3, {"config": {"resolution": 64}} | base_record(published))
    return path


def test_changed_weights_are_laid_over_their_base(published, overlay):
    expected = load_unet(tiny_config(), published).state_dict() | {"conv_out.bias": torch.arange(4.0)}
    found = load_unet(tiny_config(), overlay, resolution=64).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert "made for 64 px" in refusal(tiny_config(), overlay, resolution=128)
    moved = overlay.parent.rename(overlay.parent.with_name("moved")) / overlay.name
    load_unet(tiny_config(), moved)


def test_changed_weights_refuse_another_base(published, overlay):
    changed(published, lambda weights: weights["conv_in.bias"].add_(1))
    message = refusal(tiny_config(), overlay)
    assert str(overlay) in message
    assert "has other contents" in message
    published.unlink()
    assert "which is missing: restore it" in refusal(tiny_config(), overlay)


@pytest.mark.parametrize("record", [None, {}, {"path": "latentsync_unet.pt", "content": 3}])
def test_a_damaged_record_of_the_base_is_one_line(overlay, record):
    content = torch.load(overlay, weights_only=True) | {"base": record}
    torch.save(content, overlay)
    assert "damaged record of its base" in refusal(tiny_config(), overlay)


def test_changes_of_unknown_weights_are_refused(published, tmp_path):
    save_checkpoint(tmp_path / "changes.pt", {"strange": torch.zeros(1)}, 0, base_record(published))
    assert "changes strange, which its base lacks" in refusal(tiny_config(), tmp_path / "changes.pt")
