"""Errors of writing to the run folder, with a remedy for each cause."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.errors import InputError
from latentsync.storage.temporary_files import is_temporary

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.EROFS: "have the file system mounted for writing",
    errno.EACCES: "allow writing there",
    errno.EPERM: "allow writing there",
    errno.EIO: "check the disk, which reports errors, or continue elsewhere with another training.run_dir",
    errno.ENOENT: "do not move or delete the run folder while it is in use",
    errno.EEXIST: "move away the file or folder of that name",
    errno.ENOTDIR: "move away the file or folder of that name",
    errno.EISDIR: "move away the file or folder of that name",
}
_DEFAULT_REMEDY = "check that the folder can be written and that its disk works"
_ERRNO_BY_TEXT = {os.strerror(number): number for number in _REMEDIES}
_OS_ERROR = re.compile(r"os error (\d+)")
_FULL_DISK_BYTES = 1 << 20


def write_remedy(error: BaseException, folder: Path) -> str:
    """Return the remedy for a write error by its cause; torch and safetensors wrap that cause."""
    number = _cause(error)
    if number is None:
        with suppress(OSError):
            if shutil.disk_usage(folder if folder.exists() else folder.parent).free < _FULL_DISK_BYTES:
                number = errno.ENOSPC
    return _REMEDIES.get(number or 0, _DEFAULT_REMEDY)


@contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """Convert write errors into one line with a remedy.

    Raises:
        InputError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        path = Path(os.fsdecode(error.filename or run_dir))
        if is_temporary(path.name):
            path = path.parent
        fault = f"{path} cannot be written ({error.strerror or error})"
        raise InputError(f"{fault}: {write_remedy(error, run_dir)}, then run the same command again") from error


def _cause(error: BaseException | None) -> int | None:
    """Return the errno of an error or of one that it wraps, or None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if (match := _OS_ERROR.search(str(error))) is not None:
            return int(match[1])
        for text, number in _ERRNO_BY_TEXT.items():
            if text in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None
