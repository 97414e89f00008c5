"""benchmarks/unet_profile.py at tiny sizes."""

from benchmarks import unet_profile
from benchmarks.unet_profile import ATTENTION, CONVOLUTION, LINEAR, count_operations, kind_of
from latentsync.models.unet_config import UNetConfig


def test_command_prints_a_table(capsys):
    assert unet_profile.main(["--size", "tiny", "--resolution", "64", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "64 px, bfloat16, fused layers" in printed
    assert "| convolution |" in printed
    assert "| whole step | " in printed
    assert "| fused | " in printed


def test_operators_have_a_kind():
    assert kind_of("mkldnn::_linear_pointwise") == kind_of("aten::addmm") == LINEAR
    assert kind_of("aten::mkldnn_convolution") == CONVOLUTION
    assert kind_of("aten::_scaled_dot_product_flash_attention_for_cpu") == ATTENTION
    assert kind_of("aten::view") == "other"


def test_operations_are_counted_by_kind():
    config = UNetConfig(block_out_channels=[8], attention_levels=[], layers_per_block=1, norm_num_groups=4)
    operations = count_operations(config, 8)
    convolution = 2 * 32 * 64 * 9 * (13 * 8 + 8 * 8)  # conv_in and the first of the resnet
    assert operations[CONVOLUTION] > convolution
    assert operations[ATTENTION] > 0
