"""Atomic writing: a file appears complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.storage.temporary_files import temporary_path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to ``path`` on success, remove it on error.

    The temporary file lies beside ``path``, so that the rename stays within one file system. Its name is hidden, keeps
    the suffix and is unique, so that concurrent runs in one folder do not collide.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # keep the original error; a later run removes the file (`sweep_once`)
            temporary.unlink(missing_ok=True)
        raise
