"""Owned folders: folders that a program may write to and clean up, marked by a file inside and locked while in use.

The rule is the same for all programs: a missing or empty folder is claimed with a marker; a folder with the marker of
the same program may be used again; any other folder is refused, whatever it contains.
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
_OWNER_NOTE = f"{LOCK}.owner"
_PROCESS = re.compile(r"process (\d{1,10}) on (.*)")
_LOCK_TIMEOUT_S = 10.0
"""Child processes of a killed run may hold its lock for a moment longer."""
_MADE_BY_SYSTEMS = {".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"}
"""Files that file managers and file systems create by themselves."""


def check_ownership(
    folder: Path, program: str, remedy: str, is_of_older_version: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Check that a program owns a folder or can claim it; nothing is written.

    Args:
        folder: the folder, which need not exist.
        program: name of the owner, such as ``app``.
        remedy: end of the error message, such as ``name another --work_dir``.
        is_of_older_version: returns True for a folder that an older version of this program made without a marker.

    Raises:
        InputError: the folder belongs to something else, is a file, or is not readable or writable.
    """
    try:
        owner = _owner(folder)
        if owner is None and folder.is_dir() and _has_content(folder) and not is_of_older_version(folder):
            raise InputError(f"{folder} holds files that this program did not make: {remedy}")
        if owner not in (None, program):
            raise InputError(f"{folder} belongs to another program ({owner}): {remedy}")
        nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not nearest.is_dir():
            raise InputError(f"{nearest} is a file, not a folder: {remedy}")
        for name in folder.absolute().parts[len(nearest.parts) :]:  # raises OSError if the name is too long
            with suppress(FileNotFoundError):
                os.lstat(nearest / name)
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"{nearest} is not writable (Permission denied): {remedy}")
    except OSError as error:
        raise InputError(f"{folder} cannot be used ({error.strerror}): {remedy}") from error


def claim_folder(
    folder: Path, program: str, remedy: str, is_of_older_version: Callable[[Path], bool] = lambda folder: False
) -> None:
    """Create a folder with its parents if missing, and mark it as owned by a program.

    Args:
        folder, program, remedy, is_of_older_version: as for `check_ownership`.

    Raises:
        InputError: the folder belongs to something else, or is not writable.
    """
    check_ownership(folder, program, remedy, is_of_older_version)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if _owner(folder) is None:
            with atomic_write(folder / MARKER) as temporary:
                temporary.write_text(json.dumps({_KEY: program}) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} is not writable ({error.strerror}): {remedy}") from error


def check_unlocked(folder: Path, remedy: str) -> None:
    """Check that no other run uses a folder, which need not exist; nothing is written.

    Args:
        folder, remedy: as for `locked`.

    Raises:
        InputError: another run uses the folder.
    """
    if not (folder / LOCK).is_file():
        return
    _acquire(folder, remedy).release()


@contextmanager
def locked(folder: Path, remedy: str) -> Iterator[None]:
    """Lock a folder against other runs; the operating system releases the lock if the process is killed.

    Args:
        folder: an existing folder.
        remedy: end of the error message, such as ``wait for it, or choose another --output_dir``.

    Raises:
        InputError: another run uses the folder, or it cannot be locked.
    """
    lock, note = _acquire(folder, remedy), folder / _OWNER_NOTE
    try:
        try:
            with atomic_write(note) as temporary:
                temporary.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{folder} is not writable ({error.strerror}): {remedy}") from error
        yield
    finally:
        with suppress(OSError):  # such as a disk that became read-only; the note is only for error messages
            note.unlink(missing_ok=True)
        lock.release()


def _acquire(folder: Path, remedy: str) -> FileLock:
    """Acquire the lock of a folder, with a timeout if its owner is no longer running."""
    lock = FileLock(folder / LOCK)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            lock.acquire(timeout=_LOCK_TIMEOUT_S if _has_ended(_owner_of_lock(folder)) else 0)
    except Timeout as error:
        raise InputError(f"{folder} is in use by {_owner_of_lock(folder) or 'another run'}: {remedy}") from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder} cannot be locked ({reason}): {remedy}") from error
    return lock


def _owner_of_lock(folder: Path) -> str:
    """Return the process that holds the lock, as it noted itself; empty if unknown."""
    try:
        return (folder / _OWNER_NOTE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _has_ended(owner: str) -> bool:
    match = _PROCESS.fullmatch(owner)
    return match is not None and match[2] == socket.gethostname() and not is_running(int(match[1]))


def _has_content(folder: Path) -> bool:
    """Return True if a folder contains more than the system's files and those of an interrupted claim."""
    names = {path.name for path in folder.iterdir()} - _MADE_BY_SYSTEMS - {LOCK, _OWNER_NOTE}
    return any(not is_temporary(name) for name in names)


def _owner(folder: Path) -> str | None:
    """Return the program that marked the folder, "unknown" for an unreadable marker, None without a marker."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return "unknown"
    owner = content.get(_KEY) if isinstance(content, dict) else None
    return owner if isinstance(owner, str) else "unknown"
