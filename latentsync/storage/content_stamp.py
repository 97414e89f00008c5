"""What identifies the present content of a file, so that an unchanged file is read and checked only once."""

import os
import time
from pathlib import Path

_RECENT_NS = 2_000_000_000
"""Two writes within the resolution of a file system's clock (up to 2 s) have the same modification time."""

ContentStamp = tuple[str, int, int, int]
"""Absolute path, size, modification time and number of the file."""


def content_stamp(path: str | Path) -> ContentStamp | None:
    """Return what identifies the present content of a file, or None if a later change could go unnoticed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if time.time_ns() - status.st_mtime_ns < _RECENT_NS:
        return None
    return os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ino
