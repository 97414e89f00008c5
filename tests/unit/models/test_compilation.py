"""Compiled blocks without a compiler: torch's "eager" back end traces the blocks and runs the result as it is."""

import pytest
import torch

from latentsync.errors import ConfigError
from latentsync.models import cpu_inference
from latentsync.models.compilation import check_compiler, compile_blocks
from tests.unit.models.tiny_unet import tiny_inputs, tiny_unet


def test_compiled_blocks_are_whole_graphs_with_the_plain_results(monkeypatch):
    monkeypatch.setattr(cpu_inference, "MIN_BYTES", 0)
    unet = tiny_unet(layers_per_block=1)
    names = list(unet.state_dict())
    sample, audio = tiny_inputs()
    with torch.no_grad(), cpu_inference.plain_layers():
        expected = unet(sample, 300, audio)
    compile_blocks(unet, backend="eager")
    with torch.no_grad():
        actual = unet(sample, 300, audio)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    assert list(unet.state_dict()) == names


def test_a_missing_compiler_is_named_with_the_remedy(monkeypatch):
    def fail(function, **options):
        raise RuntimeError("Failed to find C++ compiler.\nPlease specify via CXX.")

    monkeypatch.setattr(torch, "compile", fail)
    remedy = r"install a C\+\+ compiler such as g\+\+, or omit --compile \(Failed to find C\+\+ compiler\.\)$"
    with pytest.raises(ConfigError, match=remedy):
        check_compiler(torch.device("cpu"))
