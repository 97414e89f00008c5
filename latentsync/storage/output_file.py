"""Single output files: checked before the work that makes them, and written whole."""

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write


def check_output_file(
    path: Path, inputs: Iterable[Path], option: str = "--out", suffixes: Collection[str] = ()
) -> None:
    """Looks whether a file can be written and replaces no input; writes nothing.

    Args:
        path: the file; where it is there already, it will be replaced.
        inputs: every file that the work reads.
        option: where the user named it, for the message.
        suffixes: of which it must have one; any where there are none.

    Raises:
        InputError: it is an input or a folder, has another suffix, or its folder cannot be written to.
    """
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"{path}: name a file that ends in {' or '.join(suffixes)} with {option}")
    check_no_inputs([path], inputs, option)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)  # a name that is too long is an error of its own
        if path.is_dir():
            raise InputError(f"{path} is a folder: name a file with {option}")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no ordinary file: name another with {option}")
        nearest = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        if not nearest.is_dir():
            raise InputError(f"{nearest} is a file, not a folder: name another {option}")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(f"{nearest} cannot be written to (Permission denied): name another {option}")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): name another {option}") from error


def check_no_inputs(outputs: Iterable[Path], inputs: Iterable[Path], option: str = "--out") -> None:
    """Looks whether any output is also an input, under whatever name.

    Raises:
        InputError: one is.
    """
    read = {identity for path in inputs for identity in _identities(path)}
    for path in outputs:
        if not read.isdisjoint(_identities(path)):
            raise InputError(f"the output {path} is also an input: name another {option}")


@contextmanager
def atomic_output(path: Path, option: str = "--out") -> Iterator[Path]:
    """As `atomic_write`, with the folders above it made, and what goes wrong told in words.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as beside:
            yield beside
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be written ({reason}): make room or name another {option}") from error


def _identities(path: Path) -> Iterator[object]:
    """What tells a file from others: the path without links, and where the file is there its number on the disk."""
    with suppress(OSError, RuntimeError):
        yield path.resolve()
    with suppress(OSError):
        stat = path.stat()
        if stat.st_ino:
            yield stat.st_dev, stat.st_ino
