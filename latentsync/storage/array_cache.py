"""Arrays computed once and kept on disk, shared by any number of processes and read through memory maps."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentsync.errors import InputError
from latentsync.storage.atomic import written_whole

logger = logging.getLogger(__name__)

_KEY_BYTES = 20


def cache_key(*parts: str | int) -> str:
    """One key (40 hex digits) for everything an array depends on."""
    return bytes_key("\x1f".join(str(part) for part in parts).encode())


def bytes_key(content: bytes) -> str:
    """Hash (40 hex digits) of some bytes."""
    return hashlib.blake2b(content, digest_size=_KEY_BYTES).hexdigest()


class ArrayCache:
    """Arrays by key, one .npy file each: `<folder>/<first two digits>/<key>.npy`.

    A file appears whole, so a reader never meets half of one; two processes that make the same array at once both
    succeed. Nothing is ever removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, key: str) -> Path:
        """The file of a key, whether it is there or not."""
        return self.folder / key[:2] / f"{key}.npy"

    def holds(self, key: str) -> bool:
        """Whether the array is there (its file, unread)."""
        return self.path(key).is_file()

    def read(self, key: str) -> np.ndarray | None:
        """The array as a read-only memory map; None where it is not there, or its file is damaged."""
        path = self.path(key)
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, OSError) as error:  # cut short by a crash of the machine, say
            logger.warning("%s cannot be read (%s), it is made again", path, error)
            return None

    def get(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array as a read-only memory map, made first where it is not there.

        Raises InputError where the folder cannot be written.
        """
        stored = self.read(key)
        if stored is None:
            self._write(key, make())
            stored = self.read(key)
        if stored is None:
            raise InputError(f"{self.path(key)} cannot be read back: name another data.cache_dir")
        return stored

    def _write(self, key: str, array: np.ndarray) -> None:
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as beside:
                np.save(beside, array, allow_pickle=False)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"the cache {self.folder} cannot be written ({reason}): free some space or name another data.cache_dir"
            ) from error
