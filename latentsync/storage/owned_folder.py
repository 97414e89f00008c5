"""Folders that a program of ours may write to, clear and serve: marked in the folder itself, locked while in use.

The rule is one for all programs: a folder that is missing or empty becomes ours, with a marker; a folder with the
marker of the same program is ours; any other folder is somebody else's and is refused, whatever it holds.
"""

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.temporary_files import is_running, is_temporary

MARKER = ".latentsync.json"
LOCK = ".latentsync.lock"
_KEY = "made_by"
_NOTE = f"{LOCK}.owner"
_PROCESS = re.compile(r"process (\d{1,10}) on (.*)")
_PATIENCE_S = 10.0
_MADE_BY_SYSTEMS = {".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"}
"""What file managers and file systems put into folders by themselves."""


def check_ownership(
    folder: Path, program: str, remedy: str, is_of_older_version: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Looks whether a folder is, or may become, a folder of this program; writes nothing.

    Args:
        folder: the folder, which need not be there.
        program: whose folder it must be, such as ``app``.
        remedy: the end of the message, such as ``name another --work_dir``.
        is_of_older_version: recognises a folder that this program made before it marked its folders.

    Raises:
        InputError: it is somebody else's, or no folder, or cannot be read or written.
    """
    try:
        owner = _owner(folder)
        if owner is None and folder.is_dir() and _holds_something(folder) and not is_of_older_version(folder):
            raise InputError(f"{folder} holds files that this program did not make: {remedy}")
        if owner not in (None, program):
            raise InputError(f"{folder} is the folder of another program ({owner}): {remedy}")
        nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not nearest.is_dir():
            raise InputError(f"{nearest} is a file, not a folder: {remedy}")
        for name in folder.absolute().parts[len(nearest.parts) :]:  # a name that is too long is an error of its own
            with suppress(FileNotFoundError):
                os.lstat(nearest / name)
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"{nearest} cannot be written to (Permission denied): {remedy}")
    except OSError as error:
        raise InputError(f"{folder} cannot be used ({error.strerror}): {remedy}") from error


def claim_folder(
    folder: Path, program: str, remedy: str, is_of_older_version: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Makes a folder this program's own, and the folders above it where they are missing.

    Arguments as for `check_ownership`.

    Raises:
        InputError: it is somebody else's, or cannot be written to.
    """
    check_ownership(folder, program, remedy, is_of_older_version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _owner(folder) is None:
            with atomic_write(folder / MARKER) as beside:
                beside.write_text(json.dumps({_KEY: program}) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}): {remedy}") from error


def check_unlocked(folder: Path, remedy: str) -> None:
    """Looks whether another run uses a folder, which need not be there; writes nothing.

    Args:
        folder, remedy: as for `locked`.

    Raises:
        InputError: another run uses it.
    """
    if not (folder / LOCK).is_file():
        return
    _take(folder, remedy).release()


@contextmanager
def locked(folder: Path, remedy: str) -> Iterator[None]:
    """Keeps other runs out of a folder; the system frees the lock when the process ends, however it ends.

    Args:
        folder: the folder, which is there.
        remedy: the end of the message, such as ``wait for it, or choose another --output_dir``.

    Raises:
        InputError: another run uses the folder, or the lock cannot be made.
    """
    lock, note = _take(folder, remedy), folder / _NOTE
    try:
        try:
            with atomic_write(note) as beside:
                beside.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{folder} cannot be written to ({error.strerror}): {remedy}") from error
        yield
    finally:
        with suppress(OSError):  # such as a disk that has become read-only; the lock alone counts
            note.unlink(missing_ok=True)
        lock.release()


def _take(folder: Path, remedy: str) -> FileLock:
    """The lock of a folder, held. Children that a killed run forked may outlive it by a moment and are waited for."""
    lock = FileLock(folder / LOCK)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            lock.acquire(timeout=_PATIENCE_S if _is_gone(_owner_of_lock(folder)) else 0)
    except Timeout as error:
        raise InputError(f"{folder} is in use by {_owner_of_lock(folder) or 'another run'}: {remedy}") from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} cannot be locked ({reason}): {remedy}") from error
    return lock


def _owner_of_lock(folder: Path) -> str:
    """Who noted that it holds the lock; nobody where that cannot be read."""
    try:
        return (folder / _NOTE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_gone(owner: str) -> bool:
    match = _PROCESS.fullmatch(owner)
    return match is not None and match[2] == socket.gethostname() and not is_running(int(match[1]))


def _holds_something(folder: Path) -> bool:
    """Whether somebody put something into it: neither the system nor a claim of ours that was cut short."""
    names = {path.name for path in folder.iterdir()} - _MADE_BY_SYSTEMS - {LOCK, _NOTE}
    return any(not is_temporary(name) for name in names)


def _owner(folder: Path) -> str | None:
    """Which program marked the folder; None where none did."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return "unknown"
    owner = content.get(_KEY) if isinstance(content, dict) else None
    return owner if isinstance(owner, str) else "unknown"
