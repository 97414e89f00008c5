"""What to tell a visitor of an error: one plain line, the server's own paths left out."""

import errno
import logging
from collections.abc import Mapping
from pathlib import Path

import torch

from latentsync.app.visible_text import without_paths
from latentsync.errors import DeviceMemoryError, LatentSyncError, NonFiniteError

logger = logging.getLogger(__name__)

_DISK_FAULTS = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is full",
    errno.EIO: "is broken",
    errno.EROFS: "cannot be written to",
}
UNEXPECTED = "something went wrong inside the program; its log says what"


def error_line(error: Exception, names: Mapping[Path, str] | None = None) -> str:
    """One line for the page; what only the server's owner can mend goes to the log.

    Args:
        error: what was raised.
        names: what to call files, by path.
    """
    if isinstance(error, DeviceMemoryError | torch.OutOfMemoryError):
        logger.error("a job ran out of memory: %s", error)
        return "the device ran out of memory: try again later, or tell the server's owner"
    if isinstance(error, NonFiniteError):
        logger.error("a job failed: %s", error)
        return "the networks gave no usable images on this server: tell its owner, its log says what to change"
    if isinstance(error, LatentSyncError):
        return without_paths(str(error), names)
    if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
        logger.error("the disk took no more: %s", error)
        return f"the server's disk {_DISK_FAULTS[error.errno]}: tell its owner, or try again later"
    logger.error("unexpected: %s", error, exc_info=error)
    return UNEXPECTED
