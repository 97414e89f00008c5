"""Calling ffmpeg and ffprobe: found on PATH, argument lists only, their last words kept for the error message."""

import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

from latentsync.errors import ToolError

ToolName = Literal["ffmpeg", "ffprobe"]

NO_SPACE = "No space left on device"
"""How ffmpeg words a full disk."""

_LINES_KEPT = 20
_SOURCE_PREFIX = re.compile(r"^(\[[^\]]*@ 0x[0-9a-f]+\]\s*)+")


def find_tool(name: ToolName) -> str:
    """Path of the program on PATH; ToolError with the remedy where it is not there."""
    found = shutil.which(name)
    if found is None:
        raise ToolError(
            f"{name} was not found: run `source setup_env.sh` or install it "
            "(apt-get install ffmpeg / brew install ffmpeg)"
        )
    return found


def run_tool(args: Sequence[str]) -> str:
    """Run a tool to its end (`args[0]` is its name) and return what it printed; ToolError with its last line."""
    process = subprocess.run(  # argument list, no shell
        [find_tool(_tool_name(args[0])), *args[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if process.returncode != 0:
        lines = process.stderr.decode(errors="replace").splitlines()
        raise ToolError(f"{args[0]} failed: {last_words(lines) or f'exit status {process.returncode}'}")
    return process.stdout.decode(errors="replace")


def file_url(path: str | Path) -> str:
    """A name that ffmpeg takes for a local file whatever it begins with or contains (dashes, colons, quotes)."""
    return f"file:{path}"


def last_words(lines: Sequence[str]) -> str:
    """The last line that says something, without ffmpeg's `[demuxer @ 0x...]`; an empty string where there is none."""
    for line in reversed(lines):
        text = _SOURCE_PREFIX.sub("", line).strip()
        if text:
            return text
    return ""


class StderrTail:
    """Reads a process's stderr on a thread, so that it never blocks, and keeps the last lines."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._has_no_space = False
        self._thread = threading.Thread(target=self._drain, name="stderr", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        for line in self._stream:
            text = line.decode(errors="replace").rstrip()
            self._has_no_space |= NO_SPACE in text
            self._lines.append(text)

    def finish(self) -> str:
        """Wait for the end of the stream and return the last words."""
        self._thread.join()
        self._stream.close()
        return last_words(self._lines)

    @property
    def has_no_space(self) -> bool:
        """Whether the process met a full disk."""
        return self._has_no_space


def _tool_name(name: str) -> ToolName:
    if name == "ffmpeg" or name == "ffprobe":
        return name
    raise ValueError(f"unknown tool {name!r}")
