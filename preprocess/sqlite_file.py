"""Opening SQLite files of the pipeline, and telling them from those of others."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from latentsync.errors import InputError

_PATIENCE_S = 60.0
"""How long to wait while another process writes."""


def connect(path: Path, tables: Collection[str]) -> sqlite3.Connection:
    """A connection to a file that is missing or empty, or has these tables alone.

    Raises:
        InputError: it has other tables, so somebody else made it; it is left unchanged.
        sqlite3.Error: it is no SQLite file, or cannot be opened.
    """
    database = sqlite3.connect(path, timeout=_PATIENCE_S)
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
    """The tables of an SQLite file, nothing where it is none; no lock is taken and no file is made or changed."""
    if not path.is_file():
        return set()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            return _tables(database)
    except (sqlite3.Error, OSError):
        return set()


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Says of an error of SQLite or of the system inside which file of an output folder it concerns, and what to do.

    Raises:
        InputError: instead of sqlite3.Error and OSError.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise cannot_write(root / "manifest", error) from error
    except OSError as error:
        raise cannot_write(error.filename2 or error.filename or root, error) from error


def cannot_write(path: object, error: sqlite3.Error | OSError) -> InputError:
    """The error of a file or folder that the disk does not take, with the remedy."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return InputError(
        f"{path} cannot be written ({reason}): make room or repair the disk, then the same command goes on"
    )


def _tables(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
