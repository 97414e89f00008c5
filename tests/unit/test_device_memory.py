import pytest
import torch

from latentsync import device_memory
from latentsync.device_memory import fitting_batch_size, is_out_of_memory, naming_memory_errors, run_in_batches
from latentsync.errors import DeviceMemoryError, InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, other allocations: 1 GB)"), True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"),
            True,
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_mean_that_memory_ran_out(error: Exception, expected: bool):
    assert is_out_of_memory(error) is expected


def test_a_real_failed_allocation_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


class Device:
    """A computation that runs out of memory above a number of items."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, items: slice) -> torch.Tensor:
        self.tried.append(items.stop - items.start)
        if self.tried[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.arange(items.start, items.stop)


@pytest.mark.parametrize(
    ("num_items", "batch_size", "room", "tried", "fitting"),
    [
        (16, 8, 8, [8, 8], 8),
        (16, 8, 3, [8, 4, 2, 2, 2, 2, 2, 2, 2, 2], 2),
        (5, 8, 4, [5, 2, 2, 1], 2),
        (3, 8, 1, [3, 1, 1, 1], 1),
        (9, 8, 100, [8, 1], 8),
    ],
)
def test_batches_are_halved_until_they_fit_and_every_item_comes_once(
    monkeypatch, num_items: int, batch_size: int, room: int, tried: list[int], fitting: int
):
    released = []
    monkeypatch.setattr(device_memory, "release_memory", released.append)
    device = Device(room)
    results, last = run_in_batches(device, num_items, batch_size, CPU)
    assert results.tolist() == list(range(num_items))
    assert device.tried == tried
    assert last == fitting
    assert len(released) == sum(count > room for count in tried)


def test_torchs_error_is_raised_where_one_item_is_too_much_or_no_retry_is_wanted():
    with pytest.raises(torch.OutOfMemoryError):
        run_in_batches(Device(0), 8, 8, CPU)
    device = Device(4)
    with pytest.raises(torch.OutOfMemoryError):
        run_in_batches(device, 8, 8, CPU, retry=False)
    assert device.tried == [8]


def test_another_error_is_not_retried():
    def compute(items: slice) -> torch.Tensor:
        calls.append(items)
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    calls: list[slice] = []
    with pytest.raises(RuntimeError, match="mat1"):
        run_in_batches(compute, 8, 8, CPU)
    assert len(calls) == 1


def test_the_inner_part_is_named_and_the_outer_one_adds_the_remedy():
    with (
        pytest.raises(DeviceMemoryError) as caught,
        naming_memory_errors("lip-sync", CPU, "try less"),
        naming_memory_errors("the U-Net", CPU),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert str(caught.value) == "the U-Net ran out of memory on cpu: try less"
    with pytest.raises(InputError, match="no face"), naming_memory_errors("lip-sync", CPU, "try less"):
        raise InputError("no face")


@pytest.mark.parametrize(
    ("allocated", "reserved", "free", "expected"),
    [
        (2, 3, 9, 8),  # 0.8 of ten times what the first batch took
        (2, 6, 1, 1),  # less than one more fits
        (2, 2, 100, 16),  # nothing was measured: the limit
    ],
)
def test_a_batch_fills_the_free_memory_of_a_card(monkeypatch, allocated: int, reserved: int, free: int, expected: int):
    gib = 1 << 30
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated * gib)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved * gib)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * gib, 200 * gib))
    assert fitting_batch_size(torch.device("cuda", 0), 16) == expected
    assert fitting_batch_size(CPU, 16) == 1
