"""Weights are looked at once while they load: the file's own checksums, plain tensors by name, no NaN or infinity.

Without it a damaged file gives a black mouth and an exit code of 0.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latentsync.errors import CheckpointError

_BLOCK_BYTES = 1 << 22
_REMEDY = "download it again, or take an earlier one of the training"


def check_archive(path: Path) -> None:
    """Compares the content of a file that `torch.save` wrote with its checksums; other files pass.

    A file that was written without checksums, of which none is right, passes too.

    Raises:
        CheckpointError: some bytes are not those that were written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            damaged = [member.filename for member in members if not _is_whole(archive, member)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # no archive: whoever loads it says what is wrong with it
    if damaged and (len(damaged) < len(members) or len(members) == 1):
        name = damaged[0].partition("/")[2]
        raise CheckpointError(f"checkpoint {path} is damaged (the checksum of {name} is another): {_REMEDY}")


def plain_tensors(weights: Mapping[Any, Any], path: str | Path) -> dict[str, torch.Tensor]:
    """The weights by name, each of which is a dense tensor in memory without NaN or infinity.

    Args:
        weights: what a file holds.
        path: the file, for the message.

    Raises:
        CheckpointError: one is something else; the message names it.
    """
    for name, tensor in weights.items():
        if not isinstance(name, str):
            raise CheckpointError(f"checkpoint {path} has a weight whose name is no text ({name!r}): {_REMEDY}")
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(f"checkpoint {path} has no tensor in {name}: {_REMEDY}")
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise CheckpointError(f"checkpoint {path} has no plain numbers in {name}: {_REMEDY}")
        if not is_finite(tensor):
            raise CheckpointError(f"checkpoint {path} holds NaN or infinity in {name}: {_REMEDY}")
    return dict(weights)


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether every number of a dense tensor is finite; one pass over it, without a copy where the type allows."""
    if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    tensor = _stored_numbers(tensor.detach())
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.element_size() == 1:  # formats of 8 bits have no minimum
        tensor = tensor.float()
    low, high = torch.aminmax(tensor)
    return bool(low.isfinite()) and bool(high.isfinite())


def _stored_numbers(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers in memory, where a tensor shows the same ones many times: a small file can hold one of any size."""
    storage = tensor.untyped_storage()
    if tensor.numel() * tensor.element_size() <= storage.nbytes():
        return tensor
    size = storage.nbytes() // tensor.element_size()
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage, 0, (size,))  # type: ignore[arg-type]


def check_kinds(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise CheckpointError where a file has whole numbers in place of a network's weights, or the reverse."""
    for name, tensor in expected.items():
        if name in weights and weights[name].is_floating_point() != tensor.is_floating_point():
            found = str(weights[name].dtype).removeprefix("torch.")
            raise CheckpointError(f"checkpoint {path} has numbers of the type {found} in {name}: {_REMEDY}")


def _is_whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as file:
            while file.read(_BLOCK_BYTES):
                pass
    except (zipfile.BadZipFile, EOFError, RuntimeError):
        return False
    return True
