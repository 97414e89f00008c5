"""Small text files with secrets, such as passwords and keys."""

import logging
import os
import stat
from pathlib import Path

from latentsync.errors import InputError

logger = logging.getLogger(__name__)


def read_private_text(path: Path, max_bytes: int, remedy: str, only_owner: bool = True) -> str:
    """Read a UTF-8 text file.

    Args:
        path: a regular file.
        max_bytes: its maximum size.
        remedy: end of the error message.
        only_owner: refuse a file that other users can read or change; else log a warning.

    Raises:
        InputError: the file cannot be read, is too long or no text, or others can read it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is not a regular file: {remedy}")
            if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                line = f"{path} can be read or changed by other users: chmod 600 {path}"
                if only_owner:
                    raise InputError(line)
                logger.warning("%s", line)
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    if len(content) > max_bytes:
        raise InputError(f"{path} is longer than {max_bytes} bytes: {remedy}")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {remedy}") from error
