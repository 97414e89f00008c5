"""Files of a checkpoint: the manifest that verifies their bytes, and checks of their content before any is loaded.

The manifest lists size and SHA-256 of every file and is written after all of them are flushed to the disk. The checks
raise CheckpointError with the name of the file.
"""

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentsync.errors import CheckpointError
from latentsync.storage.weight_file import is_dense, is_finite
from latentsync.training.optimizers import state_names

MANIFEST_FILE = "manifest.json"
_NUM_THREADS = 4
_CHUNK_BYTES = 1 << 22

Manifest = dict[str, dict[str, Any]]
"""{file relative to the folder: {"size": bytes, "sha256": hex digits}}"""


def write_manifest(folder: Path) -> None:
    """Flush all files of a folder to the disk, then write their manifest and flush it.

    Raises:
        OSError: the disk is full, or reports an error.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        entries = list(pool.map(lambda name: _flushed_entry(folder / name), names))
    content: Manifest = dict(zip(names, entries, strict=True))
    with (folder / MANIFEST_FILE).open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    flush_folder(folder)


def has_manifest(folder: Path) -> bool:
    """Return True if a folder has a manifest, readable or not."""
    return os.path.lexists(folder / MANIFEST_FILE)


def incomplete_file(folder: Path) -> str | None:
    """Return the first file that is missing or has another size than in the manifest, or None. No content is read."""
    manifest = _read(folder)
    if manifest is None:
        return f"{MANIFEST_FILE} cannot be read"
    for name, entry in manifest.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if size != entry["size"]:
            return f"{name} has {size} bytes instead of {entry['size']}"
    return None


def damaged_file(folder: Path) -> str | None:
    """Return the first file that differs from the manifest, by content too, or None."""
    fault = incomplete_file(folder)
    manifest = _read(folder)
    if fault is not None or manifest is None:
        return fault
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        faults = pool.map(lambda name: _damage(folder / name, name, manifest[name]["sha256"]), manifest)
        return next((fault for fault in faults if fault is not None), None)


def listed_files(folder: Path) -> list[str]:
    """Return the files that a manifest lists; none if it cannot be read."""
    return list(_read(folder) or {})


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, if the system supports it."""
    with suppress(OSError):  # Windows cannot open folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _flushed_entry(path: Path) -> dict[str, Any]:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return {"size": path.stat().st_size, "sha256": _sha256(path)}


def _damage(path: Path, name: str, expected: str) -> str | None:
    try:
        return None if _sha256(path) == expected else f"{name} is damaged (its SHA-256 is not that of {MANIFEST_FILE})"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _read(folder: Path) -> Manifest | None:
    """Return the manifest, or None if it is missing or malformed."""
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not all(_is_entry(name, entry) for name, entry in content.items()):
        return None
    return content


def _is_entry(name: str, entry: Any) -> bool:
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and ".." not in path.parts
        and isinstance(entry, dict)
        and isinstance(entry.get("size"), int)
        and isinstance(entry.get("sha256"), str)
    )


TORCH_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl"})
SAFE_SUFFIX = ".safetensors"
_DDP_PREFIX = "module."
_GROUP_SETTINGS = ("lr", "initial_lr", "weight_decay", "eps", "momentum")


def read_plain(path: Path) -> Any:
    """Return the memory-mapped content of a file written by `torch.save`, without running code from it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        _refuse(path, "is missing")
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror or error})")
    except Exception:  # damaged bytes raise exceptions of many types inside torch.load
        _refuse(path, "is damaged, or contains code besides plain data")


def check_own_sums(path: Path) -> None:
    """Verify the checks in a file itself: checksums of files of `torch.save`, sizes of safetensors."""
    if path.suffix == SAFE_SUFFIX:
        with _opened(path):
            return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception:  # damaged archives raise more than BadZipFile
        _refuse(path, "is damaged, or was not written by torch.save")
    if damaged is not None:
        _refuse(path, "is damaged")


def check_model(path: Path, model_state: Mapping[str, Tensor]) -> None:
    """Check that the tensors of a safetensors file are finite and have names and shapes of the network's state."""
    shapes = {name.removeprefix(_DDP_PREFIX): tensor.shape for name, tensor in model_state.items()}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            expected = shapes.get(name.removeprefix(_DDP_PREFIX))
            if expected is None:
                _refuse(path, f"does not fit the model: it has {name}, which the model lacks")
            if tuple(file.get_slice(name).get_shape()) != tuple(expected):
                _refuse(path, f"does not fit the model: {name} has another shape")
            tensor = file.get_tensor(name)
            if not is_finite(tensor):
                _refuse(path, f"contains NaN or infinity in {name}")


def check_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Check that a file contains a state of the optimizer: groups, names, shapes, finite values."""
    content = read_plain(path)
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        _refuse(path, "contains no state of an optimizer")
    saved, groups = content.get("param_groups"), optimizer.param_groups
    if not isinstance(saved, list) or not all(_is_group(group) for group in saved):
        _refuse(path, "contains no state of an optimizer")
    if [len(group["params"]) for group in saved] != [len(group["params"]) for group in groups]:
        _refuse(path, "does not fit the optimizer: its parameter groups have other sizes")
    names = {place: state_names(group) for group, own in zip(groups, saved, strict=True) for place in own["params"]}
    parameters = [parameter for group in groups for parameter in group["params"]]
    weights = dict(zip((place for group in saved for place in group["params"]), parameters, strict=True))
    for place, values in content["state"].items():
        if place not in weights or not isinstance(values, dict) or set(values) != names[place]:
            _refuse(path, "does not fit the optimizer: it has other averages")
        for name, value in values.items():
            fault = tensor_fault(value, () if name == "step" else weights[place].shape)
            if fault is not None:
                _refuse(path, f"is damaged: {name} of a weight {fault}")


def check_like(path: Path, current: Mapping[str, Any], what: str) -> None:
    """Check that a file contains a state like the present one of a schedule or scaler: same keys, finite numbers."""
    content = read_plain(path)
    if not isinstance(content, dict):
        _refuse(path, f"contains no state of {what}")
    public = {name for name in content if not str(name).startswith("_")}  # private keys differ between torch releases
    if public != {name for name in current if not name.startswith("_")}:
        _refuse(path, f"does not fit {what}")
    for name, value in content.items():
        if name in current and not _is_like(value, current[name]):
            _refuse(path, f"does not fit {what}: {name} has another type or is not finite")


def check_average(path: Path, current: Sequence[Tensor]) -> None:
    """Check that a file contains moving averages of the present shapes."""
    content = read_plain(path)
    if not isinstance(content, dict) or not isinstance(content.get("num_updates"), int):
        _refuse(path, "contains no average of weights")
    averages = content.get("averages")
    if not isinstance(averages, list) or len(averages) != len(current):
        _refuse(path, "does not fit the model: it averages other weights")
    for saved, own in zip(averages, current, strict=True):
        fault = tensor_fault(saved, own.shape)
        if fault is not None:
            _refuse(path, f"does not fit the model: an average {fault}")


def tensor_fault(value: Any, shape: Sequence[int]) -> str | None:
    """Return how a value differs from a finite, dense, floating-point tensor (or number) of this shape, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not len(shape):
        return None if math.isfinite(value) else "is NaN or infinite"
    if not isinstance(value, Tensor):
        return "is not a tensor"
    if not is_dense(value):
        return "is not dense"
    if not value.is_floating_point():
        return f"is of type {str(value.dtype).removeprefix('torch.')}"
    if tuple(value.shape) != tuple(shape):
        return f"has shape {list(value.shape)} instead of {list(shape)}"
    return None if is_finite(value) else "contains NaN or infinity"


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except FileNotFoundError:
        _refuse(path, "is missing")
    except (OSError, SafetensorError, ValueError):
        _refuse(path, "is damaged, or not a safetensors file")


def _is_group(group: Any) -> bool:
    return (
        isinstance(group, dict)
        and all(isinstance(name, str) for name in group)
        and isinstance(group.get("params"), list)
        and all(isinstance(place, int) for place in group["params"])
        and "lr" in group
        and all(_is_number(group[name]) for name in _GROUP_SETTINGS if name in group)
    )


def _is_like(saved: Any, current: Any) -> bool:
    if current is None or isinstance(current, bool):
        return saved is None or isinstance(saved, bool | int | float)
    if isinstance(current, int | float):
        return _is_number(saved)
    if isinstance(current, list | tuple):
        return (
            isinstance(saved, list | tuple)
            and len(saved) == len(current)
            and all(_is_like(one, other) for one, other in zip(saved, current, strict=True))
        )
    return isinstance(saved, type(current))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(path: Path, what: str) -> NoReturn:
    raise CheckpointError(f"{path.name} {what}")
