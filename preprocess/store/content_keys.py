"""Content keys of raw files and weights, remembered in the output folder."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.content_cache import content_key
from preprocess.store.database import SqliteFile, StoredPaths, tables_of

_TABLES = {"keys"}
_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (path PRIMARY KEY, size INTEGER, changed_ns INTEGER, key TEXT)"
_HASHING_THREADS = 4
_FILES_AHEAD = 16
_COMMIT_EVERY = 200


def keys_path(root: Path) -> Path:
    """Return the path of the file of content keys below the output folder."""
    return root / "manifest" / "content_keys.sqlite"


def is_content_keys(path: Path) -> bool:
    """Return True if a file is a `ContentKeys` file; it is only read."""
    return tables_of(path) == _TABLES


class ContentKeys(SqliteFile):
    """Content keys by (path, size, modification time) in an SQLite file, so that unchanged files are not read again.

    Raises:
        InputError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._paths = StoredPaths(path.parent)
        self._num_new = 0
        super().__init__(path, _TABLES, _SCHEMA, "for content keys", "remove it, it will be created again")

    def of_file(self, path: Path) -> str:
        """Return the content key of one file; raise InputError if it cannot be read."""
        [(_, key)] = self.of_files([path])
        if isinstance(key, InputError):
            raise key
        return key

    def of_files(self, paths: Iterable[Path]) -> Generator[tuple[Path, str | InputError], None, None]:
        """Yield each path, in order, with its content key or the error of reading it. Some files are read ahead."""
        with ThreadPoolExecutor(_HASHING_THREADS, thread_name_prefix="hash") as threads:
            pending: deque[_PendingKey] = deque()
            try:
                for path in paths:
                    pending.append(self._start(path, threads))
                    if len(pending) > _FILES_AHEAD:
                        yield self._finish(pending.popleft())
                while pending:
                    yield self._finish(pending.popleft())
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, path: Path, threads: ThreadPoolExecutor) -> "_PendingKey":
        stamp = _stamp(path)
        found = self._database.execute(
            "SELECT key FROM keys WHERE path = ? AND size = ? AND changed_ns = ?", (self._paths.to_column(path), *stamp)
        ).fetchone()
        return _PendingKey(path, stamp, threads.submit(content_key, path) if found is None else found[0])

    def _finish(self, pending: "_PendingKey") -> tuple[Path, str | InputError]:
        if isinstance(pending.key, str):
            return pending.path, pending.key
        try:
            key = pending.key.result()
        except InputError as error:
            return pending.path, error
        values = (self._paths.to_column(pending.path), *pending.stamp, key)
        self._database.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", values)
        self._num_new += 1
        if self._num_new % _COMMIT_EVERY == 0:
            self._database.commit()
        return pending.path, key


@dataclass(frozen=True)
class _PendingKey:
    """A file, its size and modification time before it is read, and its key, known or being computed."""

    path: Path
    stamp: tuple[int, int]
    key: str | Future[str]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
