"""The one reader of weight files: runs no code, verifies checksums, and accepts only dense, finite tensors.

Without these checks a damaged file produces a black mouth and exit code 0.

A file that passed is not checked again by the same process while its path, size, modification time and inode stay the
same: a command checks its weights before the work starts and reads them again when it builds the networks.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from latentsync.errors import CheckpointError
from latentsync.storage.content_stamp import content_stamp

_BLOCK_BYTES = 1 << 22
_REMEDY = "download it again, or use an earlier checkpoint of the training"
_MISSING_REMEDY = "give the path of a .pt file, or run setup_env.sh to download it"
TRAINING_DOWNLOAD = "run python -m scripts.download_weights --training, or name another file"
"""Remedy for a missing file that only training or evaluation requires."""
_UNFIT_REMEDY = "use the configuration these weights were trained with, or download them again"

_verified: set[tuple[object, ...]] = set()


def read_weight_file(path: str | Path, remedy: str = _MISSING_REMEDY) -> dict[str, Any]:
    """Read a file written by `torch.save` without running code from it, and verify its checksums.

    Args:
        path: the file.
        remedy: end of the error message if the file is missing.

    Returns:
        Its content; tensors are on the CPU, memory-mapped if the file format allows it.

    Raises:
        CheckpointError: the file is missing, a folder, empty, damaged, or contains anything but plain data.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a weights file" if path.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint {path} {what}: {remedy}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"checkpoint {path} is empty: download it again")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as error:  # damaged or hostile bytes raise exceptions of many types inside torch.load
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"checkpoint {path} is refused as damaged or unsafe (it may contain code): get it from its publisher"
            ) from error
        raise CheckpointError(f"checkpoint {path} is truncated or damaged: download it again") from error
    check_archive(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint {path} contains no dictionary of weights: give a LatentSync .pt file")
    return content


def read_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file, by name.

    Raises:
        CheckpointError: the file is missing or damaged, or a tensor is not finite.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} is missing or damaged: give an existing .safetensors file") from error
    return plain_tensors(weights, path)


def check_archive(path: Path) -> None:
    """Verify the checksums that `torch.save` stored in a file; files that are not zip archives pass.

    A file without valid checksums (`torch.serialization.set_crc32_options(False)`) passes too.

    Raises:
        CheckpointError: a checksum does not match.
    """
    stamp = content_stamp(path)
    if stamp in _verified:
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            damaged = [member.filename for member in members if not _is_intact(archive, member)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # not an archive: torch.load reports what is wrong with it
    if damaged and (len(damaged) < len(members) or len(members) == 1):
        name = damaged[0].partition("/")[2]
        raise CheckpointError(f"checkpoint {path} is damaged (wrong checksum of {name}): {_REMEDY}")
    if stamp is not None:
        _verified.add(stamp)


def plain_tensors(weights: Mapping[Any, Any], path: str | Path) -> dict[str, torch.Tensor]:
    """Return the weights as a dictionary after checking that all are dense tensors without NaN or infinity.

    Args:
        weights: content of a file, or a part of it.
        path: the file, for the error message.

    Raises:
        CheckpointError: a weight is anything else; the message names it.
    """
    for name, tensor in weights.items():
        if not isinstance(name, str):
            raise CheckpointError(f"checkpoint {path} has a weight whose name is not a string ({name!r}): {_REMEDY}")
        if not isinstance(tensor, torch.Tensor):
            raise CheckpointError(f"checkpoint {path} has no tensor in {name}: {_REMEDY}")
        if not is_dense(tensor):
            raise CheckpointError(f"checkpoint {path} has no dense tensor in {name}: {_REMEDY}")
    stamp = content_stamp(path)
    layout = frozenset((name, tensor.dtype) for name, tensor in weights.items())  # a cast to float16 may overflow
    if stamp is None or (*stamp, layout) not in _verified:
        for name, tensor in weights.items():
            if not is_finite(tensor):
                raise CheckpointError(f"checkpoint {path} contains NaN or infinity in {name}: {_REMEDY}")
        if stamp is not None:
            _verified.add((*stamp, layout))
    return dict(weights)


def is_dense(tensor: torch.Tensor) -> bool:
    """Return True for a tensor with plain elements in memory: strided, not quantized, not on the meta device."""
    return tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized


def is_finite(tensor: torch.Tensor) -> bool:
    """Return True if all elements of a dense tensor are finite; one pass, without a copy if the dtype allows it."""
    if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    tensor = _stored_elements(tensor.detach())
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.element_size() == 1:  # torch.aminmax is not implemented for 8-bit floats
        tensor = tensor.float()
    low, high = torch.aminmax(tensor)
    return bool(low.isfinite()) and bool(high.isfinite())


def check_fit(
    expected: Mapping[str, torch.Tensor],
    weights: Mapping[str, Any],
    path: str | Path,
    remedy: str = _UNFIT_REMEDY,
) -> None:
    """Check that weights have exactly the names, shapes and kinds (floating point or integer) of a state dict.

    Args:
        expected: state dict of the network, which may be on the meta device.
        weights: the weights of the file.
        path: the file, for the error message.
        remedy: end of the error message.

    Raises:
        CheckpointError: they differ.
    """
    misshapen = [
        f"{name} {_shape(weights[name])} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and _shape(weights[name]) != tuple(tensor.shape)
    ]
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has other shapes:", misshapen)):
        if names:
            raise CheckpointError(
                f"checkpoint {path} does not fit the network, it {what} {abbreviate(names)}: {remedy}"
            )
    for name, tensor in expected.items():
        if weights[name].is_floating_point() != tensor.is_floating_point():
            found = str(weights[name].dtype).removeprefix("torch.")
            raise CheckpointError(f"checkpoint {path} has elements of type {found} in {name}: {_REMEDY}")


def fill_network(network: nn.Module, weights: Mapping[str, Any], path: str | Path) -> None:
    """Assign weights of a file to a network, which may be on the meta device.

    Raises:
        CheckpointError: names or shapes differ, or a weight is not dense or not finite.
    """
    check_fit(network.state_dict(), weights, path, "it belongs to another network, download it again")
    network.load_state_dict(plain_tensors(weights, path), assign=True)


def abbreviate(names: Sequence[str], count: int = 3) -> str:
    """Return the first names, joined by commas, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _stored_elements(tensor: torch.Tensor) -> torch.Tensor:
    """Return the elements in memory of an expanded tensor: a small file can contain one of any size."""
    storage = tensor.untyped_storage()
    if tensor.numel() * tensor.element_size() <= storage.nbytes():
        return tensor
    size = storage.nbytes() // tensor.element_size()
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage, 0, (size,))  # type: ignore[arg-type]


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _is_intact(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(member) as file:
            while file.read(_BLOCK_BYTES):
                pass
    except (zipfile.BadZipFile, EOFError, RuntimeError):
        return False
    return True
