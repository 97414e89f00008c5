"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.storage.temporary_files import temporary_path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a name beside ``path`` to write to; it becomes ``path`` when the work inside succeeds, else it is removed.

    The name is hidden, ends as ``path`` does and is used by nobody else, so two runs in one folder do not meet.
    """
    beside = temporary_path(path)
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):  # a disk that fails hides nothing of what happened; a later run removes the file
            beside.unlink(missing_ok=True)
        raise
