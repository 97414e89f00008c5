"""Text for visitors: messages without absolute paths of the server.

Every message for a page, an answer of the API and the body of an HTTP error passes through here. Files that a visitor
uploaded appear under the names that the visitor gave them; any other absolute path becomes `A_FILE`.
"""

import errno
import logging
import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import torch

from latentsync.errors import DeviceMemoryError, LatentSyncError, NonFiniteError

logger = logging.getLogger(__name__)

A_FILE = "a file of the server"
UNEXPECTED = "something went wrong inside the program; its log has the details"

_DISK_ERRORS = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is full",
    errno.EIO: "is broken",
    errno.EROFS: "cannot be written to",
}
_START = re.compile(
    r"""
      (?<!\w)[A-Za-z]:[\\/](?=\S)               # C:\home
    | (?<![\w\\])\\\\(?=\w)                     # \\server\share
    | (?<![\w.~/\\\]:<])/+(?=[^\s/'"<>])        # /home, but not a/b, ./a, ~/a, </b>
    | (?<=file:)/+(?=[^\s/'"<>])                # file:///home
    | (?<=:)/(?=[^\s/'"<>])                     # error:/home, but not https://host/a
    """,
    re.VERBOSE,
)
_END = re.compile(r"""[\s'"<>|,;)}\]]|[:.]+(?=\s|$)|$""")
_MAX_WORDS = 24
"""Words of a path with spaces that are examined."""
_MAX_PATHS = 20
"""Paths of a text that are replaced; the rest of the text is dropped, since visitors can influence error messages."""


def error_line(error: Exception, names: Mapping[Path, str] | None = None) -> str:
    """Return one line for the page; errors that only the owner of the server can fix are logged.

    Args:
        error: the exception.
        names: names to show for files, by path.
    """
    if isinstance(error, DeviceMemoryError | torch.OutOfMemoryError):
        logger.error("a job ran out of memory: %s", error)
        return "the device ran out of memory: try again later, or tell the server's owner"
    if isinstance(error, NonFiniteError):
        logger.error("a job failed: %s", error)
        return "the networks gave no usable images on this server: tell its owner, the log says what to change"
    if isinstance(error, LatentSyncError):
        return without_paths(str(error), names)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        logger.error("disk error: %s", error)
        return f"the server's disk {_DISK_ERRORS[error.errno]}: tell its owner, or try again later"
    logger.error("unexpected: %s", error, exc_info=error)
    return UNEXPECTED


def without_paths(text: str, names: Mapping[Path, str] | None = None) -> str:
    """Return the text in one line, with file names as visitors know them and without other absolute paths.

    Args:
        text: text for a person.
        names: names to show for files, by path.
    """
    for path, name in sorted((names or {}).items(), key=lambda item: -len(str(item[0]))):
        text = text.replace(str(path), name)
    text = " ".join(text.split())
    kept, at = [], 0
    while (found := _START.search(text, at)) is not None:
        kept += [text[at : found.start()], A_FILE]
        if len(kept) >= 2 * _MAX_PATHS:
            return "".join([*kept, " ..."])
        at = _end_of_path(text, found.start())
    return "".join([*kept, text[at:]])


def _end_of_path(text: str, start: int) -> int:
    """Return the end of a path: its closing quote, or the first space after which no existing path is named."""
    quote = text[start - 1 : start]
    if quote in ("'", '"') and (closing := text.find(quote, start)) > 0:
        return closing
    ends = [match.start() for match in islice(_END.finditer(text, start + 1), _MAX_WORDS)]
    known = start + 1
    for end in ends:
        folder = os.path.dirname(text[start:end])
        if _exists(text[start:end]):
            known = end
        elif _exists(folder):
            known = max(known, start + len(folder))
    return next(end for end in ends if end >= known)


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
