import json

import numpy as np
import pytest
import torch
from torch import nn

from latentsync.models import cpu_inference
from latentsync.models.unet import DeepFeatures, UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from tests.golden_values import det, fill_deterministic
from tests.unit.models.tiny_unet import tiny_inputs, tiny_unet


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize("min_fused_bytes", [0, cpu_inference.MIN_BYTES])
@pytest.mark.parametrize("tag", ["unet_stage1", "unet_stage2"])
def test_golden_values(golden_dir, tag, min_fused_bytes, monkeypatch):
    monkeypatch.setattr(cpu_inference, "MIN_BYTES", min_fused_bytes)
    golden = json.loads((golden_dir / f"{tag}.json").read_text())
    fields = {name: value for name, value in golden["config"].items() if name in UNetConfig.__dataclass_fields__}
    unet = fill_deterministic(UNet3DConditionModel.from_unet_config(UNetConfig(**fields)))
    frames, size = golden["frames"], golden["latent"]
    with torch.no_grad():
        predicted = unet(
            det(f"{tag}/sample", (2, 13, frames, size, size)),
            torch.tensor(golden["timesteps"]),
            det(f"{tag}/audio", (2, frames, 50, fields["cross_attention_dim"])),
        )
    expected = torch.from_numpy(np.load(golden_dir / f"{tag}.npz")["sample_out"])
    assert relative_error(predicted, expected) < 1e-5


def test_norm_epsilons_and_exact_gelu():
    unet = tiny_unet()
    for name, module in unet.named_modules():
        if isinstance(module, nn.GroupNorm):
            inside_transformer = "attentions" in name or "motion_modules" in name
            assert module.eps == (1e-6 if inside_transformer else 1e-5), name
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-5, name
    x = torch.linspace(-4, 4, 101)
    erf = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    gated = [module for module in unet.modules() if type(module).__name__ == "GEGLU"]
    assert gated
    assert all(torch.allclose(module.gelu(x), erf, atol=1e-6) for module in gated)


def test_output_layers_are_initialized_to_zero():
    unet = UNet3DConditionModel(
        block_out_channels=[16, 32], norm_num_groups=4, attention_head_dim=2, use_motion_module=True
    )
    zero = [name for name, tensor in unet.state_dict().items() if tensor.ndim > 1 and not tensor.any()]
    motion = [name for name in unet.state_dict() if name.endswith("temporal_transformer.proj_out.weight")]
    assert sorted(zero) == sorted(["conv_in.weight", "conv_out.weight", *motion])


def test_prepared_audio_is_the_same_as_raw_audio():
    unet = tiny_unet()
    sample, audio = tiny_inputs()
    with torch.no_grad():
        assert torch.equal(unet(sample, 300, audio), unet(sample, 300, unet.prepare_audio(audio)))


def test_audio_reaches_its_own_frame_only_without_motion():
    unet = tiny_unet(use_motion_module=False, layers_per_block=1)
    audio = tiny_inputs(batch=1)[1]
    changed = audio.clone()
    changed[:, 1] += 1
    with torch.no_grad():
        transformer = unet.down_blocks[0].attentions[0]
        x = det("tokens", (3, 16, 8, 8))
        difference = transformer(x, unet.prepare_audio(audio)) - transformer(x, unet.prepare_audio(changed))
    assert difference[1].abs().max() > 1e-3
    assert not difference[[0, 2]].any()


def test_motion_modules_connect_the_frames():
    x = det("motion", (4, 16, 8, 8))
    module = tiny_unet().down_blocks[0].motion_modules[0]
    changed = x.clone()
    changed[3] += det("motion/change", (16, 8, 8))
    with torch.no_grad():
        difference = (module(x, 4) - module(changed, 4)).flatten(1).abs().amax(1)
        alone = (module(x, 2) - module(changed, 2)).flatten(1).abs().amax(1)
    assert (difference > 1e-4).all()
    assert not alone[:2].any()


def test_position_encoding_is_sinusoidal():
    encoding = tiny_unet().down_blocks[0].motion_modules[0].temporal_transformer.transformer_blocks[0]
    pe = encoding.attention_blocks[0].pos_encoder.pe
    frame, pair = 7, 3
    angle = frame / 10000 ** (2 * pair / 16)
    assert pe.shape == (1, 24, 16)
    assert pe[0, frame, 2 * pair : 2 * pair + 2].tolist() == pytest.approx([np.sin(angle), np.cos(angle)], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype):
    sample, audio = tiny_inputs()
    with torch.no_grad():
        expected = tiny_unet()(sample, 500, audio)
        predicted = nn.Module.to(tiny_unet(), dtype=dtype)(sample, 500, audio)
    assert predicted.dtype == dtype
    assert relative_error(predicted, expected) < (0.05 if dtype == torch.bfloat16 else 0.01)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_cuda_agrees_with_cpu(dtype, bound):
    sample, audio = tiny_inputs()
    unet = tiny_unet()
    with torch.no_grad():
        expected = unet(sample, 500, audio)
        unet.to("cuda", dtype)
        predicted = unet(sample.to("cuda", dtype), 500, audio.to("cuda", dtype)).cpu()
    assert relative_error(predicted, expected) < bound


def test_gradient_checkpointing_changes_no_gradient():
    sample, audio = tiny_inputs()
    gradients = []
    for checkpointing in (False, True):
        unet = tiny_unet()
        if checkpointing:
            unet.enable_gradient_checkpointing()
            assert all(block.gradient_checkpointing for block in [*unet.down_blocks, unet.mid_block, *unet.up_blocks])
        unet(sample, 500, audio).square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in unet.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.equal(gradient, gradients[1][name]), name


def test_gradient_checkpointing_stores_fewer_activations():
    def saved_bytes(checkpointing: bool) -> int:
        unet, total = tiny_unet(), 0
        if checkpointing:
            unet.enable_gradient_checkpointing()
        seen = set()

        def pack(tensor):
            nonlocal total
            if tensor.untyped_storage().data_ptr() not in seen:
                seen.add(tensor.untyped_storage().data_ptr())
                total += tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            unet(*tiny_inputs()[:1], 500, tiny_inputs()[1])
        return total

    assert saved_bytes(True) < 0.6 * saved_bytes(False)


def test_deep_features_are_reused_exactly():
    unet = tiny_unet()
    sample, audio = tiny_inputs()
    calls = []
    for name, block in (("deep", unet.down_blocks[1]), ("mid", unet.mid_block), ("shallow", unet.down_blocks[0])):
        block.register_forward_hook(lambda *_, name=name: calls.append(name))
    store = unet.new_deep_features()
    with torch.no_grad():
        full = unet(sample, 500, audio, store)
        assert torch.equal(full, unet(sample, 500, audio))
        calls.clear()
        store.reuse = True
        assert torch.equal(full, unet(sample, 500, audio, store))
        assert calls == ["shallow"]
        assert not torch.equal(full, unet(sample + 0.1, 500, audio, store))


def test_deep_features_are_extrapolated_along_the_last_two_full_steps():
    store, published = DeepFeatures(), DeepFeatures(extrapolate=False)
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])
    for deep in (store, published):
        deep.store(first)
        assert torch.equal(deep.predict(first), first)
        deep.predict(first)
        deep.store(second)
    assert store.predict(second).tolist() == [5.0, 2.0]
    assert store.predict(second).tolist() == [6.0, 2.0]
    assert torch.equal(published.predict(second), second)
    store.store(torch.zeros(1))  # another batch size: guidance has ended
    assert store.predict(torch.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("changes", "in_channels"),
    [
        ({"block_out_channels": [8, 16, 32], "attention_levels": [1, 2], "in_channels": 13}, 13),
        ({"block_out_channels": [8], "in_channels": 7, "out_channels": 2}, 7),
        ({"motion_module_mid_block": True, "motion_module_decoder_only": True}, 13),
        ({"motion_module_resolutions": [2], "layers_per_block": 2}, 13),
    ],
)
def test_other_shapes_run(changes, in_channels):
    unet = tiny_unet(**changes)
    sample, audio = tiny_inputs(channels=in_channels)
    with torch.no_grad():
        assert unet(sample, 1, audio).shape == (2, unet.config.out_channels, 3, 8, 8)


def test_without_audio_layer_there_is_no_cross_attention():
    unet = tiny_unet(add_audio_layer=False)
    assert not any("attn2" in name or "norm2" in name for name in unet.state_dict() if "attentions" in name)
    sample, audio = tiny_inputs()
    with torch.no_grad():
        assert torch.equal(unet(sample, 1, audio), unet(sample, 1, audio + 1))


def test_saved_as_diffusers_folder_and_back(tmp_path):
    unet = tiny_unet(attention_levels=[1])
    unet.save_pretrained(tmp_path)
    again = UNet3DConditionModel.from_pretrained(tmp_path)
    sample, audio = tiny_inputs()
    with torch.no_grad():
        assert torch.equal(unet(sample, 1, audio), again(sample, 1, audio))


@pytest.mark.parametrize(
    ("sample_shape", "audio_shape", "message"),
    [
        ((1, 12, 2, 8, 8), (1, 2, 5, 12), "13 input channels, not 12"),
        ((1, 13, 2, 7, 8), (1, 2, 5, 12), "multiples of 2"),
        ((1, 13, 25, 8, 8), (1, 25, 5, 12), "at most 24 frames, not 25"),
        ((1, 13, 2, 8, 8), (1, 2, 5, 11), "audio must be"),
    ],
)
def test_wrong_inputs_are_named(sample_shape, audio_shape, message):
    with pytest.raises(ValueError, match=message):
        tiny_unet()(torch.zeros(sample_shape), 1, torch.zeros(audio_shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": [30]}, "30 is not a multiple of norm_num_groups 32"),
        ({"in_channels": 0}, "model.in_channels must be between 1 and 65536, not 0"),
        ({"layers_per_block": 2**31}, "model.layers_per_block must be between 1 and 64"),
        ({"motion_module_max_frames": 10**30}, "model.motion_module_max_frames must be between 1 and 4096"),
        ({"block_out_channels": [2**31]}, "2147483648 is not between 1 and 65536"),
        ({"block_out_channels": [32] * 1000}, "1 to 10 levels"),
        ({"attention_levels": [4]}, "contains level 4"),
        ({"block_out_channels": []}, "1 to 10 levels"),
    ],
)
def test_wrong_configurations_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**changes)


@pytest.mark.parametrize("parts", [["motion_modules."], ["attentions."], ["resnets"], ["conv_out"]])
def test_any_part_can_train_alone(parts):
    """A part whose input requires no gradient once crashed the process inside torch."""
    unet = tiny_unet()
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(any(part in name for part in parts))
    sample, audio = tiny_inputs()
    unet(sample, 9, audio).square().mean().backward()
    gradients = [name for name, parameter in unet.named_parameters() if parameter.grad is not None]
    assert gradients == [name for name, parameter in unet.named_parameters() if parameter.requires_grad]
