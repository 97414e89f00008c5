"""Raw files become clips: a content key that is remembered, and a name that is safe in every folder and list."""

import sqlite3
import unicodedata
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from latentsync.errors import InputError
from latentsync.storage.content_cache import content_key
from preprocess.clip import Clip
from preprocess.sqlite_file import cannot_write, connect, tables_of
from preprocess.stored_paths import StoredPaths

KEY_CHARS_IN_NAMES = 8
"""How much of a key a file's name carries."""

_NAME_CHARS = 60
_NAME_BYTES = 120
_UNSAFE_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, halves of characters (undecodable bytes), line and paragraph separators."""

_HASHING_THREADS = 4
_FILES_AHEAD = 16
_SAVE_EVERY = 200


def keys_path(root: Path) -> Path:
    """Where content keys are remembered below the output folder."""
    return root / "manifest" / "content_keys.sqlite"


def is_content_keys(path: Path) -> bool:
    """Whether a file is a `ContentKeys` file; it is only read."""
    return tables_of(path) == {"keys"}


class ContentKeys:
    """Content keys by (path, size, time of change) in one SQLite file, so that unchanged files are not read again.

    Raises InputError where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._columns = StoredPaths(path.parent)
        self._num_new = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = connect(path, {"keys"})
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS keys (path PRIMARY KEY, size INTEGER, changed_ns INTEGER, key TEXT)"
            )
        except (sqlite3.OperationalError, OSError) as error:
            raise cannot_write(path, error) from error
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be used ({error}): remove it, it is made anew") from error

    def __enter__(self) -> "ContentKeys":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._database.commit()
        self._database.close()

    def of_file(self, path: Path) -> str:
        """Content key of one file; InputError where it cannot be read."""
        [(_, key)] = self.of_files([path])
        if isinstance(key, InputError):
            raise key
        return key

    def of_files(self, paths: Iterable[Path]) -> Generator[tuple[Path, str | InputError], None, None]:
        """Each path in its order with its content key, or with what is wrong; some files are read ahead."""
        with ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="hash") as threads:
            ahead: deque[_Reading] = deque()
            try:
                for path in paths:
                    ahead.append(self._start(path, threads))
                    if len(ahead) > _FILES_AHEAD:
                        yield self._finish(ahead.popleft())
                while ahead:
                    yield self._finish(ahead.popleft())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, path: Path, threads: ThreadPoolExecutor) -> "_Reading":
        stamp = _stamp(path)
        found = self._database.execute(
            "SELECT key FROM keys WHERE path = ? AND size = ? AND changed_ns = ?", (self._columns.column(path), *stamp)
        ).fetchone()
        return _Reading(path, stamp, threads.submit(content_key, path) if found is None else found[0])

    def _finish(self, reading: "_Reading") -> tuple[Path, str | InputError]:
        if isinstance(reading.key, str):
            return reading.path, reading.key
        try:
            key = reading.key.result()
        except InputError as error:
            return reading.path, error
        values = (self._columns.column(reading.path), *reading.stamp, key)
        self._database.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", values)
        self._num_new += 1
        if self._num_new % _SAVE_EVERY == 0:
            self._database.commit()
        return reading.path, key


@dataclass(frozen=True)
class _Reading:
    """A file, its size and time of change before it was read, and its key, known or in the making."""

    path: Path
    stamp: tuple[int, int]
    key: str | Future[str]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def raw_clip(path: Path, key: str) -> Clip:
    """The clip of a raw file with the content key `key`; its name says whose it is, and where two names are equal the
    key tells them apart."""
    return Clip(key, key, f"{clean_name(path.stem)}-{key[:KEY_CHARS_IN_NAMES]}", path)


def clean_name(stem: str) -> str:
    """A file's stem without what troubles file systems, lists and command lines: control characters and undecodable
    bytes become _, leading dashes, dots and blanks go, and it is cut (60 characters, 120 bytes in UTF-8)."""
    safe = "".join("_" if unicodedata.category(char) in _UNSAFE_CATEGORIES else char for char in stem)
    cut = safe.lstrip("-. ")[:_NAME_CHARS].encode()[:_NAME_BYTES]
    return cut.decode(errors="ignore").rstrip() or "clip"
