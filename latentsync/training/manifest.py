"""The manifest of a checkpoint: size and SHA-256 of every file, written after all of them are safely on the disk."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

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
