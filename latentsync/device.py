"""The one place where devices and number formats are chosen."""

import os
import platform

import torch

from latentsync.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str = "auto") -> torch.device:
    """Turns ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device; ``auto`` takes the fastest one present.

    Raises:
        InputError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 0):
        raise InputError(f"device {name!r} is not present on this machine: use --device auto")
    return device


def process_device(name: str = "auto") -> torch.device:
    """The device of this process: as `resolve_device`, and each process of a launcher has its own card.

    Raises:
        InputError: as `resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device(device.type, int(os.environ["LOCAL_RANK"]))
    return device


def count_accelerators() -> int:
    """How many devices faster than the CPU this machine has."""
    kind = resolve_device().type
    return 0 if kind == "cpu" else torch.cuda.device_count() if kind == "cuda" else 1


def worker_device(index: int) -> torch.device:
    """The device of worker number `index` of several on one machine: each accelerator in turn, else the CPU."""
    kind = resolve_device().type
    return torch.device(kind, index % count_accelerators()) if kind == "cuda" else torch.device(kind)


def describe_device(device: torch.device) -> str:
    """A device in words, for reports: the card's name, or the kind of processor and the threads in use."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turns ``auto``, ``float32``, ``bfloat16`` or ``float16`` into a dtype for the heavy networks.

    ``auto`` is float16 on CUDA cards and mps, and on CPUs bfloat16 where the hardware multiplies it, else float32.

    Raises:
        InputError: the name is none of these.
    """
    if name == "auto":
        if device.type != "cpu":
            return torch.float16
        return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}: use auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions (AVX512-BF16 or AMX), so that the format is fast and not emulated."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
