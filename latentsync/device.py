"""The one place where devices and number formats are chosen."""

import logging
import os
import platform
from functools import cache

import torch

from latentsync.accelerator import cards_are_hidden, explain_unusable_card, is_usable
from latentsync.errors import InputError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HALF_CAPABILITY = (8, 0)
"""The lowest compute capability at which inference takes float16, and training bfloat16, by itself."""


def resolve_device(name: str = "auto") -> torch.device:
    """Turns ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device; ``auto`` takes the fastest one present.

    Where ``auto`` takes the CPU although the machine has an NVIDIA card, the log gets one warning with the remedy.

    Raises:
        InputError: the name is unknown, or this machine has no such device, or torch cannot use it.
    """
    if name == "auto":
        device = fastest_device()
        if device.type == "cpu":
            _warn_of_unused_card()
        return device
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device {name!r}: use auto, cpu, cuda, cuda:N or mps") from None
    index = device.index or 0
    if device.type == "cuda":
        is_here = is_usable(index)
    else:
        is_here = index < {"cpu": 1, "mps": int(torch.backends.mps.is_available())}.get(device.type, 0)
    if is_here:
        return device
    reason = explain_unusable_card(index) if device.type == "cuda" else None
    if reason is not None:
        raise InputError(f"device {name!r}: {reason}, or use --device auto")
    raise InputError(f"device {name!r} is not present on this machine: use --device auto")


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
    kind = fastest_device().type
    return torch.device(kind, index % count_accelerators()) if kind == "cuda" else torch.device(kind)


def fastest_device() -> torch.device:
    """The device that ``auto`` means here; nothing is logged."""
    if is_usable():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@cache
def _warn_of_unused_card() -> None:
    """Once a process."""
    reason = None if cards_are_hidden() else explain_unusable_card()
    if reason is not None:
        logger.warning("computing on the CPU: %s", reason)


def describe_device(device: torch.device) -> str:
    """A device in words, for reports: the card's name, or the kind of processor and the threads in use."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"


def release_memory(device: torch.device) -> None:
    """Gives memory that torch keeps for later back to the device; a CPU has none such."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def peak_allocated_bytes(device: torch.device) -> int | None:
    """Largest memory that this process's tensors have taken on an accelerator; None where it is not counted."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turns ``auto``, ``float32``, ``bfloat16`` or ``float16`` into a dtype for the networks of inference.

    ``auto`` is:

    * on CUDA cards float16 from compute capability 8.0, else float32, as in the published code: half precision gives
      NaN on the GTX 16xx cards (7.5);
    * on CPUs bfloat16 where the hardware multiplies it, else float32: bfloat16 has float32's range
      and overflows no sooner;
    * elsewhere (mps) float32: nothing has measured these networks in float16 there.

    Raises:
        InputError: the name is none of these.
    """
    if name == "auto":
        if device.type == "cuda":
            is_half_safe = torch.cuda.get_device_capability(device) >= HALF_CAPABILITY
            return torch.float16 if is_half_safe else torch.float32
        return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bfloat16() else torch.float32
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}: use auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def training_dtype(device: torch.device) -> torch.dtype:
    """The number format of a training that names none: bfloat16 where the device multiplies it natively, else float32.

    CUDA cards multiply it from compute capability 8.0, CPUs with AVX512-BF16 or AMX. Never float16: without loss
    scaling gradients below 6e-8 are lost in it, and activations above 65504 overflow.
    """
    if device.type == "cuda":
        is_native = torch.cuda.get_device_capability(device) >= HALF_CAPABILITY
    else:
        is_native = device.type == "cpu" and cpu_multiplies_bfloat16()
    return torch.bfloat16 if is_native else torch.float32


def frozen_dtype(mixed_precision: str) -> torch.dtype:
    """The format of frozen networks in a training with this resolved mixed precision ("no", "bf16" or "fp16").

    bfloat16 beside "bf16", else float32: a frozen network in float16 loses gradients that only pass through it, and
    loss scaling cannot prevent that its activations overflow.
    """
    return torch.bfloat16 if mixed_precision == "bf16" else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 instructions (AVX512-BF16 or AMX), so that the format is fast and not emulated."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
