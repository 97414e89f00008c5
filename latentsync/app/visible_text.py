"""What visitors may read: plain text in which no absolute path of the server is left.

Every message for a page, an answer of the API or the body of an HTTP error passes through here. Files that visitors
know are called by the name they gave them; any other absolute path becomes `A_FILE`.
"""

import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

A_FILE = "a file of the server"

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
_MOST_WORDS = 24
"""Of a path with spaces."""
_MOST_PATHS = 20
"""Of a text; what comes after them is cut off, because visitors can have a hand in what an error says."""


def without_paths(text: str, names: Mapping[Path, str] | None = None) -> str:
    """The text with files called by what visitors call them and without any other absolute path, in one line.

    Args:
        text: what a person is to read.
        names: what to call files, by path.
    """
    for path, name in sorted((names or {}).items(), key=lambda item: -len(str(item[0]))):
        text = text.replace(str(path), name)
    text = " ".join(text.split())
    kept, at = [], 0
    while (found := _START.search(text, at)) is not None:
        kept += [text[at : found.start()], A_FILE]
        if len(kept) >= 2 * _MOST_PATHS:
            return "".join([*kept, " ..."])
        at = _end_of_path(text, found.start())
    return "".join([*kept, text[at:]])


def _end_of_path(text: str, start: int) -> int:
    """Where a path ends: at its closing quote, or at the first space after which it names nothing that is there."""
    quote = text[start - 1 : start]
    if quote in ("'", '"') and (closing := text.find(quote, start)) > 0:
        return closing
    ends = [match.start() for match in islice(_END.finditer(text, start + 1), _MOST_WORDS)]
    known = start + 1
    for end in ends:
        folder = os.path.dirname(text[start:end])
        if _is_there(text[start:end]):
            known = end
        elif _is_there(folder):
            known = max(known, start + len(folder))
    return next(end for end in ends if end >= known)


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
