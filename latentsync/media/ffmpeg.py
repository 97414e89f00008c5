"""Calling ffmpeg and ffprobe: found on PATH, argument lists only, their last words kept for the error message.

Media are hostile until looked at. Every file is opened through `input_options`: as a local file, as one of the
containers that hold their own content (a playlist names other files and addresses), with a limit of the size of a
picture and of any block of memory. No call runs for ever: `run_tool` has a time limit, a stream that stands still is
ended.
"""

import math
import re
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from latentsync.errors import ToolError

ToolName = Literal["ffmpeg", "ffprobe"]

NO_SPACE = "No space left on device"
"""How ffmpeg words a full disk."""

CONTAINERS = (
    *(
        "mov",
        "matroska",
        "webm",
        "avi",
        "mpegts",
        "mpeg",
        "flv",
        "live_flv",
        "asf",
        "asf_o",
        "ogg",
        "gif",
        "apng",
        "mxf",
    ),
    *("nut", "rm", "ivf", "dv", "wtv", "yuv4mpegpipe", "h261", "h263", "h264", "hevc", "vvc", "av1", "obu", "m4v"),
    *("mpegvideo", "mjpeg", "vc1", "dnxhd", "dirac", "roq", "swf", "bink", "smk", "3dostr", "mpegtsraw"),
    *("wav", "w64", "aiff", "mp3", "flac", "aac", "ac3", "eac3", "ac4", "amr", "amrnb", "amrwb", "caf", "au", "ape"),
    *("wv", "tta", "tak", "shn", "dts", "dtshd", "truehd", "mlp", "mpc", "mpc8", "oma", "aa", "aax", "loas", "voc"),
    *("gsm", "ilbc", "dsf", "iff", "sox", "rso", "xwma", "nistsphere", "g722", "g726", "codec2", "spdif"),
    *("png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "jpegxl_pipe"),
)
"""ffmpeg's names of the containers that hold their own content; playlists, scripts and devices are not among them."""

RAW_FORMATS = ("s16le", "rawvideo")
"""What this program writes for itself, without a header."""

MAX_PIXELS = 8192 * 8192
"""Of a picture: more than 8K video, and 200 MB as 8-bit RGB."""

PROBE_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 6 * 3600.0
STALL_TIMEOUT_S = 300.0
"""For so long a stream may stand still before its program is ended."""

_MAX_BLOCK_BYTES = 1 << 30
_SAID_OF_OUTPUT = ("Error writing trailer", "Error closing file", "av_interleaved_write_frame")
_NOT_LISTED = "Format not on whitelist"
_TOO_LARGE = "exceeds specified max pixel count"

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


def input_options(path: str | Path, formats: Sequence[str] = CONTAINERS) -> list[str]:
    """The options that let a program read a file, ``-i`` and its name among them, and nothing but this file.

    They follow the options of this input, and for ffprobe they are the last.

    Args:
        path: the file.
        formats: ffmpeg's names of what it may be.
    """
    return [
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", ",".join(formats)),
        *("-max_pixels", str(MAX_PIXELS), "-i", file_url(path)),
    ]


def tool_command(args: Sequence[str]) -> list[str]:
    """The argument list to start a program with, which may then take no block of memory beyond a gigabyte.

    Args:
        args: its name, which is looked for on PATH, and its arguments.

    Raises:
        ToolError: it is not there.
    """
    return [find_tool(_tool_name(args[0])), "-max_alloc", str(_MAX_BLOCK_BYTES), *args[1:]]


def finished_process(
    args: Sequence[str], stdout: int | IO[bytes] = subprocess.PIPE, timeout_s: float = RUN_TIMEOUT_S
) -> "subprocess.CompletedProcess[bytes]":
    """Run a tool to its end, however it ends.

    Args:
        args: its name and its arguments.
        stdout: where what it writes goes; it is kept unless a file is named.
        timeout_s: it is ended after so long.

    Raises:
        ToolError: it is missing, or took too long.
    """
    try:
        return subprocess.run(  # argument list, no shell
            tool_command(args),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{args[0]} failed: it took longer than {timeout_s:g} s") from error


def run_tool(args: Sequence[str], timeout_s: float = RUN_TIMEOUT_S) -> str:
    """Run a tool to its end (`args[0]` is its name) and return what it printed.

    Raises:
        ToolError: it is missing, failed or took longer than `timeout_s`; the message ends with its last words.
    """
    process = finished_process(args, timeout_s=timeout_s)
    if process.returncode != 0:
        lines = process.stderr.decode(errors="replace").splitlines()
        raise ToolError(f"{args[0]} failed: {telling_words(lines) or f'exit status {process.returncode}'}")
    return process.stdout.decode(errors="replace")


def refusal(words: str) -> str | None:
    """Why `input_options` kept a program from reading a file, by what it said; None where they did not."""
    if _NOT_LISTED in words:
        return "is a playlist, a script or another kind of file that is not opened: give a video or sound file"
    if _TOO_LARGE in words:
        side = math.isqrt(MAX_PIXELS)
        return f"has pictures of more than {side} x {side} pixels: make them smaller"
    return None


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


def is_cut_short(complaint: str) -> bool:
    """Whether ffmpeg says that the end of its output could not be written, for which its exit status may be 0."""
    return any(words in complaint for words in _SAID_OF_OUTPUT)


def telling_words(lines: Sequence[str]) -> str:
    """The line by which `refusal` knows why a file is not opened, else the last that says something."""
    return next((line for line in lines if refusal(line)), "") or last_words(lines)


class StallGuard:
    """Ends a process that neither gives nor takes a byte for too long, which would keep us waiting for ever.

    Args:
        process: the process.
        timeout_s: how long it may stand still.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", timeout_s: float = STALL_TIMEOUT_S) -> None:
        self._process = process
        self._timeout_s = timeout_s
        self._since: float | None = None
        self._ended = threading.Event()
        self.has_stalled = False
        threading.Thread(target=self._watch, name="stall-guard", daemon=True).start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around a read from the process, or a write to it."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def end(self) -> None:
        """Nothing more is expected of the process."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._timeout_s / 4)):
            since = self._since
            if since is not None and time.monotonic() - since > self._timeout_s:
                self.has_stalled = True
                self._process.kill()
                return


class StderrTail:
    """Reads a process's stderr on a thread, so that it never blocks, and keeps the last lines."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._has_no_space = False
        self._is_cut_short = False
        self._thread = threading.Thread(target=self._drain, name="stderr", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        for line in self._stream:
            text = line.decode(errors="replace").rstrip()
            self._has_no_space |= NO_SPACE in text
            self._is_cut_short |= is_cut_short(text)
            self._lines.append(text)

    def finish(self) -> str:
        """Wait for the end of the stream and return the last words."""
        self._thread.join()
        self._stream.close()
        return telling_words(list(self._lines))

    @property
    def is_cut_short(self) -> bool:
        """Whether the process could not write all of its output."""
        return self._has_no_space or self._is_cut_short

    @property
    def has_no_space(self) -> bool:
        """Whether the process met a full disk."""
        return self._has_no_space


def _tool_name(name: str) -> ToolName:
    if name == "ffmpeg" or name == "ffprobe":
        return name
    raise ValueError(f"unknown tool {name!r}")
