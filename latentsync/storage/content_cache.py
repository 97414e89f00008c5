"""Content keys of files, and arrays cached on disk under such keys."""

import hashlib
import json
import logging
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from latentsync.errors import FileError, InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_stamp import ContentStamp, content_stamp

logger = logging.getLogger(__name__)

_KEY_BYTES = 20
_BLOCK_BYTES = 1 << 20


def cache_key(*parts: str | int) -> str:
    """Return the key (40 hex digits) of an array that depends on these parts."""
    return bytes_key("\x1f".join(str(part) for part in parts).encode())


def bytes_key(content: bytes) -> str:
    """Return the hash (40 hex digits) of bytes."""
    return hashlib.blake2b(content, digest_size=_KEY_BYTES).hexdigest()


def content_key(path: Path, index: Path | None = None) -> str:
    """Return the hash (40 hex digits) of a file's bytes: renamed copies share a key, changed files do not.

    A process reads an unchanged file only once.

    Args:
        path: the file.
        index: folder that stores keys by (path, size, modification time), so that unchanged files are not read again.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileError.create(path, "is not a regular file", "give an existing file")
        entry = None if index is None else _index_entry(path, index)
        stamp = [status.st_size, status.st_mtime_ns]
        stored = None if entry is None else _stored_key(entry, stamp)
        if stored is not None:
            return stored
        unchanged = content_stamp(path)
        key = _hash_file(path) if unchanged is None else _hash_unchanged(unchanged)
    except OSError as error:
        raise FileError.create(path, f"cannot be read ({error.strerror})", "give an existing file") from error
    except ValueError as error:  # a zero byte in the name
        raise FileError.create(repr(str(path)), "is not a valid file name", "give an existing file") from error
    if entry is not None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(entry) as temporary:
            temporary.write_text(json.dumps({"stamp": stamp, "key": key}))
    return key


class ArrayCache:
    """NumPy arrays by key, one file each: `<folder>/<first two digits>/<key>.npy`.

    Safe for concurrent use: files are written atomically, and two processes that compute the same array both succeed.
    Nothing is ever evicted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, key: str) -> Path:
        """Return the file of a key, which need not exist."""
        return self.folder / key[:2] / f"{key}.npy"

    def holds(self, key: str) -> bool:
        """Return True if the file of this key exists; it is not read."""
        return self.path(key).is_file()

    def read(self, key: str) -> np.ndarray | None:
        """Return the array as a read-only memory map, or None if its file is missing or damaged."""
        path = self.path(key)
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, OSError) as error:  # such as a file truncated by a system crash
            logger.warning("%s cannot be read (%s) and is computed again", path, error)
            return None

    def get(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array as a read-only memory map; a missing one is computed by `make` and stored first.

        Raises:
            InputError: the folder is not writable.
        """
        stored = self.read(key)
        if stored is None:
            self._write(key, make())
            stored = self.read(key)
        if stored is None:
            raise InputError(f"{self.path(key)} cannot be read after writing: name another data.cache_dir")
        return stored

    def _write(self, key: str, array: np.ndarray) -> None:
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                np.save(temporary, array, allow_pickle=False)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"the cache {self.folder} cannot be written ({reason}): free some space or name another data.cache_dir"
            ) from error


@lru_cache(maxsize=1024)
def _hash_unchanged(stamp: ContentStamp) -> str:
    return _hash_file(Path(stamp[0]))


def _hash_file(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _index_entry(path: Path, index: Path) -> Path:
    name = cache_key(str(path.resolve()))
    return index / name[:2] / f"{name}.json"


def _stored_key(entry: Path, stamp: list[int]) -> str | None:
    try:
        content = json.loads(entry.read_text())
    except (OSError, ValueError):
        return None
    is_same = isinstance(content, dict) and content.get("stamp") == stamp and isinstance(content.get("key"), str)
    return content["key"] if is_same else None
