from contextlib import contextmanager

import pytest
import torch

from latentsync.device import StageStream, frozen_dtype, resolve_device, resolve_dtype, training_dtype
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
    with pytest.raises(InputError, match="float12"):
        resolve_dtype("float12", cpu)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 0), torch.float32), ((7, 5), torch.float32), ((8, 0), torch.float16), ((12, 0), torch.float16)],
)
def test_half_precision_is_automatic_from_compute_capability_8(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    card = torch.device("cuda:0")
    assert resolve_dtype("auto", card) is expected
    assert resolve_dtype("float16", card) is torch.float16  # by choice
    assert resolve_dtype("float32", card) is torch.float32


@pytest.mark.parametrize(("is_native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_takes_bfloat16_where_it_multiplies_it_and_mps_float32(monkeypatch, is_native, expected):
    monkeypatch.setattr("latentsync.device.cpu_multiplies_bfloat16", lambda: is_native)
    assert resolve_dtype("auto", torch.device("cpu")) is expected
    assert resolve_dtype("auto", torch.device("mps")) is torch.float32


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_training_on_a_card_is_bfloat16_from_capability_8(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert training_dtype(torch.device("cuda", 0)) is expected
    assert training_dtype(torch.device("mps")) is torch.float32


@pytest.mark.parametrize(("is_native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_training_on_a_cpu_is_bfloat16_where_it_multiplies_it(
    is_native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentsync.device.cpu_multiplies_bfloat16", lambda: is_native)
    assert training_dtype(torch.device("cpu")) is expected


def test_frozen_networks_are_never_float16() -> None:
    assert [frozen_dtype(name) for name in ("no", "bf16", "fp16")] == [torch.float32, torch.bfloat16, torch.float32]


def test_a_stage_waits_for_the_default_stream_and_is_complete_at_its_end(monkeypatch):
    class Stream:
        def __init__(self, device: torch.device) -> None:
            events.append(f"new on {device}")

        def wait_stream(self, stream: str) -> None:
            events.append(f"wait for {stream}")

        def synchronize(self) -> None:
            events.append("complete")

    @contextmanager
    def current(stream: Stream):
        events.append("begin")
        yield
        events.append("end")

    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: f"default of {device}")
    stream = StageStream(torch.device("cuda", 1), is_concurrent=True)
    for _ in range(2):
        with stream():
            events.append("work")
    once = ["wait for default of cuda:1", "begin", "work", "end", "complete"]
    assert events == ["new on cuda:1", *once, *once]


@pytest.mark.parametrize(("device", "is_concurrent"), [("cpu", True), ("cuda", False)])
def test_a_stage_on_the_cpu_or_in_turns_has_no_stream(device: str, is_concurrent: bool):
    with StageStream(torch.device(device), is_concurrent)():
        assert torch.ones(2).sum() == 2
