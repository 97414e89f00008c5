"""SQLite files of the pipeline, and the format of paths in them."""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from latentsync.errors import InputError
from preprocess.step import JsonValue

_LOCK_TIMEOUT_S = 60.0
"""How long to wait while another process writes."""
_PATH_KEY = "$path"
"""JSON objects with this key stand for a path below the output folder."""

_File = TypeVar("_File", bound="SqliteFile")


class SqliteFile:
    """Open SQLite file of the pipeline.

    Args:
        path: the file; it is created if it is missing.
        tables: the names of its tables.
        schema: SQL that creates the tables if they are missing.
        description: end of the error message of a damaged file, such as ``as a manifest``.
        remedy: what to do with a damaged file.

    Raises:
        InputError: the file is damaged, was made by another program, or cannot be written.
    """

    def __init__(self, path: Path, tables: Collection[str], schema: str, description: str, remedy: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _connect(path, tables)
            self._database.executescript(schema)
        except (sqlite3.OperationalError, OSError) as error:
            raise _cannot_write(path, error) from error
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be used {description} ({error}): {remedy}") from error

    def __enter__(self: _File) -> _File:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Save pending changes and close the file."""
        self._database.commit()
        self._database.close()


def _connect(path: Path, tables: Collection[str]) -> sqlite3.Connection:
    """Open a file that is missing, empty, or has no other tables than these; any other file is left unchanged."""
    database = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S)
    try:
        found = _tables(database)
    except sqlite3.Error:
        database.close()
        raise
    if not found <= set(tables):
        database.close()
        raise InputError(f"{path} is the database of another program: move it away")
    return database


def tables_of(path: Path) -> set[str]:
    """Return the names of the tables of an SQLite file; empty if it is no SQLite file.

    No lock is taken, and no file is created or changed.
    """
    if not path.is_file():
        return set()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            return _tables(database)
    except (sqlite3.Error, OSError):
        return set()


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Convert errors of SQLite and the system into an InputError that names the file and the remedy.

    Args:
        root: the output folder.

    Raises:
        InputError: instead of sqlite3.Error and OSError.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _cannot_write(root / "manifest", error) from error
    except OSError as error:
        raise _cannot_write(error.filename2 or error.filename or root, error) from error


def _cannot_write(path: object, error: sqlite3.Error | OSError) -> InputError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return InputError(
        f"{path} cannot be written ({reason}): make room or repair the disk, then the same command resumes"
    )


def _tables(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


class StoredPaths:
    """Converts paths to the format of SQLite columns and JSON, and back.

    Paths below the output folder are stored relative to it, so that the folder can be moved.

    Args:
        root: the output folder. A string in facts that starts with its path is treated as a path.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))
        self._prefix = os.path.join(self._root, "")

    def to_column(self, path: Path) -> str | bytes:
        """Return a path as a column value: text, or bytes if the name is not valid Unicode."""
        text = os.path.abspath(path).removeprefix(self._prefix)
        try:
            text.encode()
        except UnicodeEncodeError:
            return os.fsencode(text)
        return text

    def from_column(self, stored: str | bytes) -> Path:
        """Return the absolute path of a column value."""
        return self._root / os.fsdecode(stored)

    def to_json(self, value: JsonValue) -> str:
        """Return facts as JSON."""
        return json.dumps(self._encode(value))

    def from_json(self, text: str) -> Any:
        """Return the facts of a JSON text."""
        return json.loads(text, object_hook=self._decode)

    def _encode(self, value: JsonValue) -> JsonValue:
        if isinstance(value, str) and value.startswith(self._prefix):
            return {_PATH_KEY: value.removeprefix(self._prefix)}
        if isinstance(value, dict):
            return {name: self._encode(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._encode(each) for each in value]
        return value

    def _decode(self, value: dict[str, Any]) -> Any:
        return str(self._root / value[_PATH_KEY]) if _PATH_KEY in value else value
