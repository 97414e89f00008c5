from contextlib import nullcontext

import pytest
import torch
from torch import nn

from latentsync.models import cpu_inference
from latentsync.models.cpu_inference import chunk_ranges, is_fused, plain_layers
from tests.unit.models.tiny_unet import tiny_inputs, tiny_unet

pytestmark = pytest.mark.skipif(
    not cpu_inference._has_fused_layers(torch.float32), reason="oneDNN's fused layers are used on x86 only"
)


@pytest.fixture(autouse=True)
def fused_at_any_size(monkeypatch):
    monkeypatch.setattr(cpu_inference, "MIN_BYTES", 0)


def predict(dtype: torch.dtype, is_plain: bool) -> torch.Tensor:
    """Return a guided prediction: the first half of the batch has no audio."""
    unet = nn.Module.to(tiny_unet(), dtype=dtype)
    sample, audio = tiny_inputs()
    audio[0] = 0
    with torch.no_grad(), plain_layers() if is_plain else nullcontext():
        return unet(sample, 500, audio).float()


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 24])
def test_fused_layers_agree_with_plain_ones(monkeypatch, chunk_bytes):
    monkeypatch.setattr(cpu_inference, "CHUNK_BYTES", chunk_bytes)
    assert relative_error(predict(torch.float32, False), predict(torch.float32, True)) < 3e-6


@pytest.mark.skipif(not cpu_inference._has_fused_layers(torch.bfloat16), reason="this CPU has no bfloat16 in oneDNN")
def test_bfloat16_is_as_close_to_float32_as_plain_layers():
    expected = predict(torch.float32, True)
    fused, plain = (relative_error(predict(torch.bfloat16, is_plain), expected) for is_plain in (False, True))
    assert fused < 1.1 * plain


def test_frames_without_audio_are_counted():
    unet = tiny_unet()
    _, audio = tiny_inputs()
    with torch.no_grad():
        assert unet.prepare_audio(audio).num_dropped == 0
        assert unet.prepare_audio(torch.cat([torch.zeros_like(audio), audio])).num_dropped == 6
        assert unet.prepare_audio(torch.zeros_like(audio)).num_dropped == 6
        assert unet.prepare_audio(torch.zeros_like(audio)).frames(4, 6).num_dropped == 2


def test_training_and_plain_layers_are_not_fused(monkeypatch):
    x = torch.zeros(1)
    assert not is_fused(x)
    with torch.no_grad():
        assert is_fused(x)
        assert not is_fused(x.half())
        with plain_layers():
            assert not is_fused(x)
        with torch.autocast("cpu"):
            assert not is_fused(x)
        monkeypatch.setattr(cpu_inference, "MIN_BYTES", 5)
        assert not is_fused(x)


def test_chunks_cover_the_range_and_respect_the_boundary():
    ranges = list(chunk_ranges(32, cpu_inference.CHUNK_BYTES // 6, boundary=16))
    assert ranges == [(0, 5), (5, 10), (10, 16), (16, 21), (21, 26), (26, 32)]
    assert list(chunk_ranges(3, 10 * cpu_inference.CHUNK_BYTES)) == [(0, 1), (1, 2), (2, 3)]
