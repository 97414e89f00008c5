"""Temporary files and folders, named after their process so that leftovers of killed runs can be removed.

Names are ``.latentsync-<host>-<pid>-<start>-<random><suffix>``; `host` is a hash of machine, container and user,
`start` the start time of the process. A file is removed only if its process has certainly ended. Files of other
machines or users, and files with any other name, are never touched.
"""

import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil

from latentsync.errors import InputError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"\.latentsync-([0-9a-f]{8})-(\d{1,10})-([0-9a-f]{1,40})-[0-9a-f]{12}(\.\w{1,12})?")
_SUFFIX = re.compile(r"\.\w{1,12}")
_UNKNOWN = "0"
_swept: set[tuple[int, str]] = set()
"""(process id, folder) of the folders that were already swept; a forked process sweeps again."""


def temporary_path(path: Path) -> Path:
    """Return a unique hidden path beside ``path`` with the same suffix."""
    sweep_once(path.parent)
    suffix = path.suffix if _SUFFIX.fullmatch(path.suffix) else ""
    return path.with_name(_own_name(suffix))


@contextmanager
def temporary_folder(parent: Path | str | None = None, remedy: str = "name another --temp_dir") -> Iterator[Path]:
    """Yield a temporary folder, which is removed with its content at the end.

    Args:
        parent: its parent folder, created if missing; None is the system's folder for temporary files.
        remedy: end of the error message.

    Raises:
        InputError: the folder cannot be created.
    """
    chosen = Path(tempfile.gettempdir() if parent is None else parent)
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        sweep_once(chosen)
        folder = chosen / _own_name("")
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InputError(f"cannot use {chosen} for temporary files: {error.strerror}; {remedy}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_once(folder: Path) -> None:
    """Remove leftovers from a folder on its first use in this process."""
    key = (os.getpid(), os.path.abspath(folder))
    if key not in _swept:
        _swept.add(key)
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> int:
    """Remove files and folders that ended processes left in a folder, not in its subfolders; return their number."""
    num_removed = 0
    try:
        entries = [entry for entry in os.scandir(folder) if _is_leftover(entry.name)]
    except OSError:
        return 0
    for entry in entries:
        path = Path(entry.path)
        try:
            shutil.rmtree(path) if entry.is_dir(follow_symlinks=False) else path.unlink()
        except OSError as error:
            logger.debug("leftover %s could not be removed: %s", path, error)
            continue
        num_removed += 1
    return num_removed


def is_temporary(name: str) -> bool:
    """Return True for the name of a temporary file or folder of any process of this program, running or ended."""
    return _NAME.fullmatch(name) is not None


def is_running(pid: int) -> bool:
    """Return True if a process with this id is running."""
    return _start_time(pid) is not None


def _own_name(suffix: str) -> str:
    return f".latentsync-{_host_hash()}-{os.getpid()}-{_start_time(os.getpid())}-{uuid.uuid4().hex[:12]}{suffix}"


def _is_leftover(name: str) -> bool:
    """Return True for a temporary name of this host and user whose process has ended."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] != _host_hash():
        return False
    start = _start_time(int(match[2]))
    return start is None or start not in (_UNKNOWN, match[3])


@cache
def _host_hash() -> str:
    """Return a hash of machine, process-id namespace (containers have their own) and user."""
    try:
        pid_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        pid_namespace = ""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return hashlib.sha256(f"{socket.gethostname()}|{pid_namespace}|{user}".encode()).hexdigest()[:8]


def _start_time(pid: int) -> str | None:
    """Return the start time of a process as digits that no later process with its id has; None if it has ended.

    On Linux it is relative to the boot and includes the boot id, since the clock may be set while a process runs.
    """
    try:
        if not os.path.isdir("/proc/self"):
            return f"{int(psutil.Process(pid).create_time() * 100):x}"
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # Zombies stay in the process table until their parent waits for them, which some never do.
        return None if fields[0] in (b"Z", b"X") else f"{_boot_id()}{int(fields[19]):x}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
    except (psutil.Error, OSError, ValueError, IndexError):
        return _UNKNOWN


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]
    except OSError:
        return "00000000"
