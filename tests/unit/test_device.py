import pytest
import torch

from latentsync.device import resolve_device, resolve_dtype
from latentsync.errors import InputError


@pytest.mark.parametrize("name", ["tpu of mine", "cpu:7", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused_by_name(name: str):
    with pytest.raises(InputError, match=r"--device auto|use auto"):
        resolve_device(name)


def test_names_become_devices_and_dtypes():
    cpu = resolve_device("cpu")
    assert cpu == torch.device("cpu")
    assert resolve_dtype("float16", cpu) is torch.float16
    assert resolve_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    assert resolve_dtype("auto", torch.device("mps")) is torch.float16
    with pytest.raises(InputError, match="float12"):
        resolve_dtype("float12", cpu)
