"""Checks where results go before any work is done."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentsync.errors import InputError


@contextmanager
def claimed_output(path: Path, beside: tuple[Path, ...], inputs: tuple[Path, ...]) -> Iterator[None]:
    """Makes sure that ``path`` can be written and is none of the inputs; makes its folder where there is none.

    The files that go ``beside`` it may be none of the inputs either.

    If the work inside fails, folders made here are taken away again.

    Raises:
        InputError: the output is an input, a folder, or in a place that cannot be written.
    """
    for output in (path, *beside):
        for given in inputs:
            if output.exists() and given.exists() and output.samefile(given):
                raise InputError(f"the output {output} is also an input: choose another --video_out_path")
    if path.is_dir():
        raise InputError(f"the output {path} is a folder: name a file such as {path / 'video_out.mp4'}")
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        _remove_empty(missing)
        raise InputError(f"cannot write to {path}: {error.strerror}; choose another --video_out_path") from error
    try:
        yield
    except BaseException:
        _remove_empty(missing)
        raise


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not os.listdir(folder):
            folder.rmdir()
