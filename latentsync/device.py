"""Choose devices and number formats; no other module does."""

import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from latentsync.accelerator import cards_are_hidden, explain_unusable_card, is_usable
from latentsync.errors import ConfigError, InputError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HALF_CAPABILITY = (8, 0)
"""Lowest compute capability for which `auto` selects float16 in inference and bfloat16 in training."""


def resolve_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device; ``auto`` selects the fastest one.

    If ``auto`` selects the CPU although the machine has an NVIDIA card, one warning with the remedy is logged.

    Raises:
        InputError: the name is unknown, the machine has no such device, or torch cannot use it.
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
    """Return the device of this process; processes of a launcher get one card each (``LOCAL_RANK``).

    Raises:
        InputError: see `resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device(device.type, int(os.environ["LOCAL_RANK"]))
    return device


def count_accelerators() -> int:
    """Return the number of devices of this machine that are faster than its CPU."""
    kind = resolve_device().type
    return 0 if kind == "cpu" else torch.cuda.device_count() if kind == "cuda" else 1


def worker_device(index: int) -> torch.device:
    """Return the device of worker number `index` on this machine: the accelerators in turn, else the CPU."""
    kind = fastest_device().type
    return torch.device(kind, index % count_accelerators()) if kind == "cuda" else torch.device(kind)


def fastest_device() -> torch.device:
    """Return the device that ``auto`` selects, without logging."""
    if is_usable():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@cache
def _warn_of_unused_card() -> None:
    """Log the warning once per process."""
    reason = None if cards_are_hidden() else explain_unusable_card()
    if reason is not None:
        logger.warning("computing on the CPU: %s", reason)


def describe_device(device: torch.device) -> str:
    """Describe a device for reports: name of the card, or architecture and number of threads of the CPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"


def release_memory(device: torch.device) -> None:
    """Release the memory that torch has cached on an accelerator; do nothing on a CPU."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


class StageStream:
    """The CUDA stream of a stage of a pipeline: its own if the stage runs in a thread of its own.

    The block of `with stream():` is the work of the stage. What was queued on the default stream is done before it,
    and the work is complete when the block ends. Tensors that the block reads must be kept until then. No effect on
    other devices, and if the stages run in turns.

    Args:
        device: device of the stage.
        is_concurrent: the stage runs beside others.
    """

    def __init__(self, device: torch.device, is_concurrent: bool) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" and is_concurrent else None
        self._device = device

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Run the block on the stream."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.default_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()


def peak_allocated_bytes(device: torch.device) -> int | None:
    """Return the peak memory of this process's tensors on a CUDA card; None on devices without this statistic."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn ``auto``, ``float32``, ``bfloat16`` or ``float16`` into a dtype for inference.

    ``auto`` selects:

    * on CUDA cards float16 from compute capability 8.0, else float32, as in the published code: half precision gives
      NaN on the GTX 16xx cards (7.5);
    * on CPUs bfloat16 if the hardware multiplies it natively, else float32: bfloat16 has the range of float32;
    * on other devices (mps) float32, because these networks have not been measured in float16 there.

    Raises:
        InputError: the name is unknown.
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
    """Return the default number format of training: bfloat16 if the device multiplies it natively, else float32.

    CUDA cards do from compute capability 8.0, CPUs with AVX512-BF16 or AMX. float16 is never the default: without loss
    scaling, gradients below 6e-8 become zero and activations above 65504 overflow.
    """
    if device.type == "cuda":
        is_native = torch.cuda.get_device_capability(device) >= HALF_CAPABILITY
    else:
        is_native = device.type == "cpu" and cpu_multiplies_bfloat16()
    return torch.bfloat16 if is_native else torch.float32


def resolve_mixed_precision(name: str, device: torch.device) -> str:
    """Resolve "auto" to the choice of `accelerate launch`, else to "bf16" or "no" as `training_dtype`.

    Raises:
        ConfigError: fp16 on a CPU, which has no loss scaling for it.
    """
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("training.mixed_precision: a CPU does not train in fp16: use bf16, no or auto")
    if name != "auto":
        return name
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched != "no":
        return launched
    return "bf16" if training_dtype(device) is torch.bfloat16 else "no"


def frozen_dtype(mixed_precision: str) -> torch.dtype:
    """Return the number format of frozen networks for a mixed precision of training ("no", "bf16" or "fp16").

    It is bfloat16 for "bf16", else float32: in float16 small gradients that pass through a frozen network become zero,
    and its activations may overflow, which loss scaling does not prevent.
    """
    return torch.bfloat16 if mixed_precision == "bf16" else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Return True if this CPU has bfloat16 instructions (AVX512-BF16 or AMX); otherwise the format is emulated."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _RangesOnCPU(TorchFunctionMode):
    """Create number ranges on the CPU: on the meta device they import torch's compiler, which takes a second."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return func(*args, **({"device": "cpu"} | kwargs if func is torch.arange else kwargs))


@contextmanager
def building_on_meta() -> Iterator[None]:
    """Build networks on the meta device: parameters have shapes but no values, and take neither time nor memory."""
    with torch.device("meta"), _RangesOnCPU():
        yield
