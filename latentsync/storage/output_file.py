"""Output files: checks before the work starts, and atomic writing with readable errors."""

import os
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

_MAX_NAME_BYTES = 255


def check_output_file(
    path: Path, inputs: Iterable[Path], option: str = "--out", suffixes: Collection[str] = ()
) -> None:
    """Check that a file can be written and is not an input; leave nothing behind.

    Args:
        path: the file; an existing one would be replaced.
        inputs: all files that the command reads.
        option: command-line option that names the file, for the message.
        suffixes: allowed suffixes; empty allows any.

    Raises:
        InputError: the file is an input or a folder, has another suffix, or its folder is not writable.
    """
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"{path}: name a file that ends in {' or '.join(suffixes)} with {option}")
    check_no_inputs([path], inputs, option)
    check_writable(path, f"name another {option}")


def check_writable(path: Path, remedy: str) -> None:
    """Check that a file can be created or replaced at a path; leave nothing behind.

    Args:
        path: the file; its folders may be missing.
        remedy: end of the message.

    Raises:
        InputError: the path is a folder, a pipe or a device, a name is too long, or the folder is not writable.
    """
    try:
        folder = path.absolute().parent
        nearest = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
        if not nearest.is_dir():
            raise InputError(f"cannot write to {path}: {nearest} is a file, not a folder; {remedy}")
        tempfile.TemporaryFile(dir=nearest).close()
        _check_names([*folder.relative_to(nearest).parts, path.name], nearest, remedy)
        if os.path.isdir(path):
            raise InputError(f"the output {path} is a folder: {remedy}")
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"the output {path} is a pipe or a device: {remedy}")
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror}; {remedy}") from error


def check_no_inputs(outputs: Iterable[Path], inputs: Iterable[Path], option: str = "--out") -> None:
    """Check that no output is also an input, under any name or hard link.

    Raises:
        InputError: an output is an input.
    """
    read = {identity for path in inputs for identity in _identities(path)}
    for path in outputs:
        if not read.isdisjoint(_identities(path)):
            raise InputError(f"the output {path} is also an input: name another {option}")


@contextmanager
def atomic_output(path: Path, option: str = "--out") -> Iterator[Path]:
    """Write a file atomically like `atomic_write`, create its folders, and turn errors into one line.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written ({reason}): free some space or name another {option}") from error


def _check_names(names: Iterable[str], folder: Path, remedy: str) -> None:
    """Check the names of new files and folders against the limit of the file system."""
    try:
        longest = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # missing on Windows and for some file systems
        longest = _MAX_NAME_BYTES
    for name in names:
        if len(os.fsencode(name)) > longest:
            raise InputError(f"the name {name[:40]}... has more than {longest} bytes: {remedy}")


def _identities(path: Path) -> Iterator[object]:
    """Yield values that identify a file: its resolved path and, if it exists, its device and inode."""
    with suppress(OSError, RuntimeError):
        yield path.resolve()
    with suppress(OSError):
        status = path.stat()
        if status.st_ino:
            yield status.st_dev, status.st_ino
