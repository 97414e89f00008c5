"""Temporary files and folders whose names say which process made them, so that what a killed run left can be removed.

A name reads ``.latentsync-<place>-<process>-<start>-<random><suffix>``: `place` is this user on this machine (and in
this container), `process` its number, `start` when it began. Only a file whose process is certainly gone is ever
removed; a file of another machine or user, or with any other name, is left alone.
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
"""Folders looked through by this process; a fork looks again."""


def temporary_path(path: Path) -> Path:
    """A hidden name beside ``path`` that nobody else uses and that ends as ``path`` does."""
    sweep_once(path.parent)
    suffix = path.suffix if _SUFFIX.fullmatch(path.suffix) else ""
    return path.with_name(_own_name(suffix))


@contextmanager
def temporary_folder(parent: Path | str | None = None, remedy: str = "name another --temp_dir") -> Iterator[Path]:
    """A folder that is removed at the end, with all that is in it.

    Args:
        parent: where it is made; made where it is missing (None: the system's place).
        remedy: the end of the message where it cannot be made.

    Raises:
        InputError: it cannot be made there.
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
    """Removes leftovers from a folder, the first time that this process has to do with it."""
    key = (os.getpid(), os.path.abspath(folder))
    if key not in _swept:
        _swept.add(key)
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> int:
    """Removes what processes that are gone left in a folder (not in folders below it); gives how much that was."""
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
            logger.debug("%s of a stopped run could not be removed: %s", path, error)
            continue
        num_removed += 1
    return num_removed


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is a temporary one of some process of ours, running or gone."""
    return _NAME.fullmatch(name) is not None


def is_running(process: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    return _start_of(process) is not None


def _own_name(suffix: str) -> str:
    return f".latentsync-{_place()}-{os.getpid()}-{_start_of(os.getpid())}-{uuid.uuid4().hex[:12]}{suffix}"


def _is_leftover(name: str) -> bool:
    """Whether a name is one of ours and its process is gone."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] != _place():
        return False
    start = _start_of(int(match[2]))
    return start is None or start not in (_UNKNOWN, match[3])


@cache
def _place() -> str:
    """This user on this machine, in this space of process numbers; containers have their own."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    return hashlib.sha256(f"{socket.gethostname()}|{numbers}|{user}".encode()).hexdigest()[:8]


def _start_of(process: int) -> str | None:
    """When a process began, in digits that no later process of the same number has; None where there is none.

    On Linux it is counted from the start of the machine, whose own name is a part of it: the clock may be set while a
    process runs.
    """
    try:
        if not os.path.isdir("/proc/self"):
            return f"{int(psutil.Process(process).create_time() * 100):x}"
        with open(f"/proc/{process}/stat", "rb") as file:
            facts = file.read().rpartition(b")")[2].split()
        # A process that has ended stays in the list until its parent asks for it, which some never do.
        return None if facts[0] in (b"Z", b"X") else f"{_boot()}{int(facts[19]):x}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
    except (psutil.Error, OSError, ValueError, IndexError):
        return _UNKNOWN


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]
    except OSError:
        return "00000000"
