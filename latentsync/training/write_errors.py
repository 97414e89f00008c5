"""What can end a training that began well."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentsync.errors import InputError, LatentSyncError
from latentsync.storage.temporary_files import is_temporary

_FREE = "free some space"
_REMEDIES = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: "free some space, or have your quota raised",
    errno.EROFS: "have the file system mounted for writing",
    errno.EACCES: "allow writing there",
    errno.EPERM: "allow writing there",
    errno.EIO: "look after the disk, which reports errors, or continue elsewhere with another training.run_dir",
    errno.ENOENT: "leave the run folder in its place",
    errno.EEXIST: "move away what is in the way",
    errno.ENOTDIR: "move away what is in the way",
    errno.EISDIR: "move away what is in the way",
}
_OTHERWISE = "see that the folder can be written and its disk is in order"
_WRAPPED = {os.strerror(number): number for number in _REMEDIES}
_OS_ERROR = re.compile(r"os error (\d+)")
_LEAST_BYTES = 1 << 20


class NonFiniteLossError(LatentSyncError):
    """The loss or a gradient is not a number any more."""


class CheckpointSaveError(LatentSyncError):
    """A checkpoint could not be written; no half of it is left behind."""


def write_remedy(error: BaseException, folder: Path) -> str:
    """What to do about an error of writing to a folder, by its cause, which torch and safetensors wrap."""
    number = _cause(error)
    if number is None:
        with suppress(OSError):
            if shutil.disk_usage(folder if folder.exists() else folder.parent).free < _LEAST_BYTES:
                number = errno.ENOSPC
    return _REMEDIES.get(number or 0, _OTHERWISE)


@contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """Says what to do where something cannot be written to the run folder.

    Raises:
        InputError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        path = Path(os.fsdecode(error.filename or run_dir))
        if is_temporary(path.name):
            path = path.parent
        what = f"{path} cannot be written ({error.strerror or error})"
        raise InputError(f"{what}: {write_remedy(error, run_dir)}, then run the same command again") from error


def _cause(error: BaseException | None) -> int | None:
    """The system's number of an error, or of one that it wraps."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if (match := _OS_ERROR.search(str(error))) is not None:
            return int(match[1])
        for text, number in _WRAPPED.items():
            if text in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None
