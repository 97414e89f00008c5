import pytest

from latentsync.errors import ConfigError
from latentsync.training.trainable import select_trainable
from tests.unit.models.tiny_unet import tiny_config, tiny_unet


def trained_names(unet) -> list[str]:
    return [name for name, parameter in unet.named_parameters() if parameter.requires_grad]


def test_without_parts_everything_trains():
    unet = tiny_unet().requires_grad_(False)
    assert select_trainable(unet, []) == sum(parameter.numel() for parameter in unet.parameters())
    assert len(trained_names(unet)) == len(list(unet.parameters()))


def test_stage_2_trains_motion_modules_and_attentions_only():
    unet = tiny_unet()
    num_trainable = select_trainable(unet, ["motion_modules.", "attentions."])
    names = trained_names(unet)
    assert any("motion_modules." in name for name in names)
    assert any("attentions." in name for name in names)
    assert not any("resnets." in name or name.startswith("conv_") for name in names)
    assert num_trainable == sum(p.numel() for p in unet.parameters() if p.requires_grad)


def test_a_part_of_no_name_is_refused():
    unet = tiny_unet()
    assert tiny_config().use_motion_module
    with pytest.raises(ConfigError, match=r"no weight's name contains 'motion_module_s'"):
        select_trainable(unet, ["motion_module_s"])
