"""The manifest of a checkpoint: size and SHA-256 of every file, written after all of them are safely on the disk."""

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
from latentsync.training.optimizers import state_names

MANIFEST_FILE = "manifest.json"
_NUM_THREADS = 4
_CHUNK_BYTES = 1 << 22

Manifest = dict[str, dict[str, Any]]
"""{file relative to the folder: {"size": bytes, "sha256": hex digits}}"""


def write_manifest(folder: Path) -> None:
    """Flushes all files of a folder to the disk, then writes their manifest and flushes that.

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
    """Whether a folder has a manifest, readable or not."""
    return os.path.lexists(folder / MANIFEST_FILE)


def missing_part(folder: Path) -> str | None:
    """What a folder lacks of what its manifest lists, by presence and size; None: nothing. No file is read."""
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


def damaged_part(folder: Path) -> str | None:
    """What differs from the manifest, the content of every file included; None: nothing."""
    fault = missing_part(folder)
    manifest = _read(folder)
    if fault is not None or manifest is None:
        return fault
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        faults = pool.map(lambda name: _damage(folder / name, name, manifest[name]["sha256"]), manifest)
        return next((fault for fault in faults if fault is not None), None)


def listed_files(folder: Path) -> list[str]:
    """The files that a manifest lists; none where it cannot be read."""
    return list(_read(folder) or {})


def flush_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk, where the system can."""
    with suppress(OSError):  # Windows opens no folders
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
    """The manifest; None where it is missing, or no manifest."""
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
_NUMBERS_OF_A_GROUP = ("lr", "initial_lr", "weight_decay", "eps", "momentum")


def read_plain(path: Path) -> Any:
    """Content of a file of `torch.save`, mapped from the disk; no code of the file is run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        _refuse(path, "is missing")
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror or error})")
    except Exception:  # a damaged file can raise anything at all inside the unpickler
        _refuse(path, "is damaged, or holds code besides plain data")


def check_own_sums(path: Path) -> None:
    """Compares a file with the checksums in itself: of every part in those of `torch.save`, of sizes in safetensors."""
    if path.suffix == SAFE_SUFFIX:
        with _opened(path):
            return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception:  # of a damaged archive, zipfile raises more than BadZipFile
        _refuse(path, "is damaged, or no file of torch.save")
    if damaged is not None:
        _refuse(path, "is damaged")


def check_model(path: Path, model_state: Mapping[str, Tensor]) -> None:
    """Compares a safetensors file with the state of the network: shapes of what both have, and that it is finite."""
    shapes = {name.removeprefix(_DDP_PREFIX): tensor.shape for name, tensor in model_state.items()}
    with _opened(path) as file:
        for name in file.keys():  # noqa: SIM118  (no mapping)
            expected = shapes.get(name.removeprefix(_DDP_PREFIX))
            if expected is None:
                _refuse(path, f"does not fit the model: it has {name}, which the model has not")
            if tuple(file.get_slice(name).get_shape()) != tuple(expected):
                _refuse(path, f"does not fit the model: {name} has another shape there")
            tensor = file.get_tensor(name)
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                _refuse(path, f"holds NaN or infinity in {name}")


def check_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Compares an optimizer's file with the optimizer."""
    content = read_plain(path)
    if not isinstance(content, dict) or not isinstance(content.get("state"), dict):
        _refuse(path, "holds no state of an optimizer")
    saved, groups = content.get("param_groups"), optimizer.param_groups
    if not isinstance(saved, list) or not all(_is_group(group) for group in saved):
        _refuse(path, "holds no state of an optimizer")
    if [len(group["params"]) for group in saved] != [len(group["params"]) for group in groups]:
        _refuse(path, "does not fit the optimizer: its groups of weights have other sizes")
    names = {place: state_names(group) for group, own in zip(groups, saved, strict=True) for place in own["params"]}
    parameters = [parameter for group in groups for parameter in group["params"]]
    weights = dict(zip((place for group in saved for place in group["params"]), parameters, strict=True))
    for place, values in content["state"].items():
        if place not in weights or not isinstance(values, dict) or set(values) != names[place]:
            _refuse(path, "does not fit the optimizer: it keeps other averages")
        for name, value in values.items():
            fault = tensor_fault(value, () if name == "step" else weights[place].shape)
            if fault is not None:
                _refuse(path, f"is damaged: {name} of a weight {fault}")


def check_like(path: Path, current: Mapping[str, Any], what: str) -> None:
    """Compares the plain state of a schedule or scaler with that of the one in use: same keys, finite numbers."""
    content = read_plain(path)
    if not isinstance(content, dict):
        _refuse(path, f"holds no state of {what}")
    public = {name for name in content if not str(name).startswith("_")}  # private ones differ between releases
    if public != {name for name in current if not name.startswith("_")}:
        _refuse(path, f"does not fit {what}")
    for name, value in content.items():
        if name in current and not _is_like(value, current[name]):
            _refuse(path, f"does not fit {what}: {name} is not what it should be")


def check_average(path: Path, current: Sequence[Tensor]) -> None:
    """Compares the file of a moving average with the averages in use."""
    content = read_plain(path)
    if not isinstance(content, dict) or not isinstance(content.get("num_updates"), int):
        _refuse(path, "holds no average of weights")
    averages = content.get("averages")
    if not isinstance(averages, list) or len(averages) != len(current):
        _refuse(path, "does not fit the model: it averages other weights")
    for saved, own in zip(averages, current, strict=True):
        fault = tensor_fault(saved, own.shape)
        if fault is not None:
            _refuse(path, f"does not fit the model: an average {fault}")


def tensor_fault(value: Any, shape: Sequence[int]) -> str | None:
    """What is wrong with a number or tensor that should be finite, dense, floating-point and of this shape."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not len(shape):
        return None if math.isfinite(value) else "is NaN or infinite"
    if not isinstance(value, Tensor):
        return "is no tensor"
    if value.is_meta or value.layout is not torch.strided or value.is_quantized:
        return "has no dense numbers"
    if not value.is_floating_point():
        return f"is of type {str(value.dtype).removeprefix('torch.')}"
    if tuple(value.shape) != tuple(shape):
        return f"has shape {list(value.shape)} instead of {list(shape)}"
    return None if bool(value.isfinite().all()) else "holds NaN or infinity"


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except FileNotFoundError:
        _refuse(path, "is missing")
    except (OSError, SafetensorError, ValueError):
        _refuse(path, "is damaged, or no safetensors file")


def _is_group(group: Any) -> bool:
    return (
        isinstance(group, dict)
        and all(isinstance(name, str) for name in group)
        and isinstance(group.get("params"), list)
        and all(isinstance(place, int) for place in group["params"])
        and "lr" in group
        and all(_is_number(group[name]) for name in _NUMBERS_OF_A_GROUP if name in group)
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
