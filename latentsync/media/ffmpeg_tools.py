"""Build and run ffmpeg and ffprobe commands; all programs of this package go through this module.

Commands are built with ffmpeg-python. User files may be hostile, so every file is opened through `media_input` or
`probe_command`: as a local file, in a container that embeds its content (a playlist can name other files and URLs), and
with limits on the image size and on the size of a memory block. No command runs forever: `run_tool` has a time limit,
and `StallGuard` ends a process whose pipe stands still.
"""

import math
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import ffmpeg

from latentsync.errors import ToolError

ToolName = Literal["ffmpeg", "ffprobe"]

Stream: TypeAlias = Any
"""A stream or an output of ffmpeg-python, which has no type stubs."""

CONTAINERS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "live_flv", "asf", "asf_o", "ogg", "gif", "apng"),
    *("mxf", "nut", "rm", "ivf", "dv", "wtv", "yuv4mpegpipe", "h261", "h263", "h264", "hevc", "vvc", "av1", "obu"),
    *("m4v", "mpegvideo", "mjpeg", "vc1", "dnxhd", "dirac", "roq", "swf", "bink", "smk", "3dostr", "mpegtsraw"),
    *("wav", "w64", "aiff", "mp3", "flac", "aac", "ac3", "eac3", "ac4", "amr", "amrnb", "amrwb", "caf", "au", "ape"),
    *("wv", "tta", "tak", "shn", "dts", "dtshd", "truehd", "mlp", "mpc", "mpc8", "oma", "aa", "aax", "loas", "voc"),
    *("gsm", "ilbc", "dsf", "iff", "sox", "rso", "xwma", "nistsphere", "g722", "g726", "codec2", "spdif"),
    *("png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe", "jpegxl_pipe"),
)
"""ffmpeg's names of the containers that embed their content; playlists, scripts and devices are not among them."""

MAX_PIXELS = 8192 * 8192
"""Pixels of one image: more than 8K video, and 200 MB as 8-bit RGB."""

SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Accurate settings of ffmpeg's `scale` filter, used for every resize and colour conversion."""

REDUCE_FLAGS = SCALE_FLAGS.replace("bicubic", "bilinear")
"""The same with a triangle filter, as antialiased bilinear resizing has it elsewhere (`face.frames.shrink_frames`)."""

SEEK_EARLY_S = 2
"""Seek this much early so that decoding starts at an earlier key frame; open-GOP frames that reference frames before it
are skipped."""

PROBE_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 6 * 3600.0
STALL_TIMEOUT_S = 300.0
"""Time without a byte through its pipe after which a process is ended."""

NO_SPACE = "No space left on device"
"""ffmpeg's message for a full disk."""

_MAX_BLOCK_BYTES = 1 << 30
_OUTPUT_ERRORS = ("Error writing trailer", "Error closing file", "av_interleaved_write_frame")
_INPUT_OUTPUT_ERROR = "Input/output error"
_DISK_ERRORS = (NO_SPACE, "Disk quota exceeded", "Read-only file system")
_NOT_LISTED = "Format not on whitelist"
_TOO_LARGE = "exceeds specified max pixel count"

_ENCODABLE = {0xDC00 + byte: 0x10DC00 + byte for byte in range(0x80, 0x100)}
"""Python represents bytes of file names that are not UTF-8 by surrogates, which ffmpeg-python cannot encode for its
hashes. Private-use characters replace them until `tool_command`."""
_SURROGATES = {private: surrogate for surrogate, private in _ENCODABLE.items()}

_OUTSIDE_SIGNALS = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)}
"""Signals that a user or the system sends; a crash of the program itself has others."""

_LINES_KEPT = 20
_SOURCE_PREFIX = re.compile(r"^(\[[^\]]*@ 0x[0-9a-f]+\]\s*)+")


class ToolFailedError(ToolError):
    """ffmpeg or ffprobe failed by itself or exceeded its time limit, such as with a damaged input.

    A program that is not installed, or that the system killed, is a plain ToolError.
    """


def media_input(path: str | Path, formats: Sequence[str] = CONTAINERS, **options: Any) -> Stream:
    """Return an ffmpeg-python input that reads one local file and nothing else.

    Args:
        path: the file.
        formats: ffmpeg's names of the containers it may have.
        **options: ffmpeg options of this input; None for an option without a value.
    """
    return ffmpeg.input(file_url(path), **_guard_options(formats), **options)


def seek_before(time_s: float) -> dict[str, Any]:
    """Return options of a `media_input` that is decoded from `SEEK_EARLY_S` before a time, or from the beginning."""
    return {"noaccurate_seek": None, "ss": f"{max(0.0, time_s - SEEK_EARLY_S):.6f}"}


def generated_input(source: str) -> Stream:
    """Return an input that ffmpeg generates, such as `testsrc2=size=64x64:rate=25:duration=1`."""
    return ffmpeg.input(source, format="lavfi")


def raw_video_input(width: int, height: int, fps: Fraction | int, pix_fmt: str = "rgb24") -> Stream:
    """Return an ffmpeg-python input that reads raw frames, by default RGB (height, width, 3), from standard input."""
    rate = Fraction(fps)
    return ffmpeg.input(
        "pipe:0",
        format="rawvideo",
        pix_fmt=pix_fmt,
        video_size=(width, height),
        framerate=f"{rate.numerator}/{rate.denominator}",
    )


def ffmpeg_command(*outputs: Stream, options: Sequence[str] = (), log_level: str = "error") -> list[str]:
    """Return the argument list that writes the given outputs.

    Args:
        *outputs: outputs of ffmpeg-python.
        options: global options.
        log_level: least severity of the messages on standard error.
    """
    merged: Stream = outputs[0] if len(outputs) == 1 else ffmpeg.merge_outputs(*outputs)
    return merged.compile(cmd=["ffmpeg", "-nostdin", "-v", log_level, *options])


def probe_command(path: str | Path, *options: str, formats: Sequence[str] = CONTAINERS) -> list[str]:
    """Return the argument list of an ffprobe call on one local file.

    Args:
        path: the file.
        *options: what to print.
        formats: ffmpeg's names of the containers it may have.
    """
    guard = [part for name, value in _guard_options(formats).items() for part in (f"-{name}", value)]
    return ["ffprobe", "-v", "error", *options, *guard, "-i", file_url(path)]


def tool_command(args: Sequence[str]) -> list[str]:
    """Return the argument list with the program's full path and a limit of 1 GiB per memory block.

    Args:
        args: name of the program and its arguments.

    Raises:
        ToolError: the program is not on PATH.
    """
    rest = [arg.translate(_SURROGATES) for arg in args[1:]]
    return [find_tool(_tool_name(args[0])), "-max_alloc", str(_MAX_BLOCK_BYTES), *rest]


def find_tool(name: ToolName) -> str:
    """Return the path of the program on PATH. Raises ToolError with the remedy."""
    found = shutil.which(name)
    if found is None:
        raise ToolError(
            f"{name} was not found: run `source setup_env.sh` or install it "
            "(apt-get install ffmpeg / brew install ffmpeg)"
        )
    return found


def finished_process(
    args: Sequence[str], stdout: int | IO[bytes] = subprocess.PIPE, timeout_s: float = RUN_TIMEOUT_S
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program to its end, whatever its exit status.

    Args:
        args: name of the program and its arguments.
        stdout: destination of its standard output; captured by default.
        timeout_s: time limit in seconds.

    Raises:
        ToolError: the program is missing, or was killed from outside, as by a system without free memory.
        ToolFailedError: it exceeded the time limit.
    """
    try:
        process = subprocess.run(  # argument list, no shell; own session: Ctrl-C reaches only this process
            tool_command(args),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailedError(f"{args[0]} failed: it took longer than {timeout_s:g} s") from error
    if -process.returncode in _OUTSIDE_SIGNALS:
        name = signal.Signals(-process.returncode).name
        raise ToolError(f"{args[0]} was ended by {name}: free some memory, then run the same command again")
    return process


def run_tool(args: Sequence[str], timeout_s: float = RUN_TIMEOUT_S) -> str:
    """Run a program and return its standard output.

    Args:
        args: name of the program and its arguments.
        timeout_s: time limit in seconds.

    Raises:
        ToolError: the program is missing, or was killed from outside.
        ToolFailedError: it failed, exceeded the time limit, or could not write all of its output; the message ends with
            the program's own.
    """
    process = finished_process(args, timeout_s=timeout_s)
    stderr = process.stderr.decode(errors="replace")
    if process.returncode != 0 or is_cut_short(stderr):
        reason = error_line(stderr.splitlines()) or f"exit status {process.returncode}"
        raise ToolFailedError(f"{args[0]} failed: {reason}")
    return process.stdout.decode(errors="replace")


def ffmpeg_version() -> str:
    """Return the version of the installed ffmpeg, or `unknown`. Raises ToolError."""
    words = run_tool(["ffmpeg", "-version"]).split()
    return words[2] if len(words) > 2 else "unknown"


def ffmpeg_encoders() -> set[str]:
    """Return the names of the installed ffmpeg's encoders. Raises ToolError."""
    table = run_tool(["ffmpeg", "-hide_banner", "-encoders"])
    return {words[1] for line in table.splitlines() if len(words := line.split()) > 1}


def file_url(path: str | Path) -> str:
    """Return a name that ffmpeg reads as a local file, whatever characters it contains (dashes, colons, quotes).

    For commands that go through `tool_command`.
    """
    return f"file:{path}".translate(_ENCODABLE)


def refusal(message: str) -> str | None:
    """Return the reason why the input guard refused a file, for an error message, or None.

    Args:
        message: ffmpeg's error message.
    """
    if _NOT_LISTED in message:
        return "is a playlist, a script or another kind of file that is not opened: give a video or audio file"
    if _TOO_LARGE in message:
        side = math.isqrt(MAX_PIXELS)
        return f"has frames of more than {side} x {side} pixels: make them smaller"
    return None


def is_cut_short(stderr: str) -> bool:
    """Return True if ffmpeg could not write the end of its output, for which its exit status may be 0."""
    return any(words in stderr for words in _OUTPUT_ERRORS)


def is_write_error(stderr: str) -> bool:
    """Return True if ffmpeg failed because of the disk it writes to, not because of its input.

    "Input/output error" alone is also reported for reading.
    """
    return (_INPUT_OUTPUT_ERROR in stderr and is_cut_short(stderr)) or any(words in stderr for words in _DISK_ERRORS)


def last_line(lines: Sequence[str]) -> str:
    """Return the last non-empty line without ffmpeg's `[demuxer @ 0x...]`, or an empty string."""
    for line in reversed(lines):
        text = _SOURCE_PREFIX.sub("", line).strip()
        if text:
            return text
    return ""


def error_line(lines: Sequence[str]) -> str:
    """Return the line from which `refusal` derives its reason, or else the last non-empty line."""
    return next((line for line in lines if refusal(line)), "") or last_line(lines)


class StallGuard:
    """End a process that keeps this one waiting for too long.

    Args:
        process: the process.
        timeout_s: longest wait for one read or write, in seconds.

    Attributes:
        has_stalled: True once the process was ended for this reason.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", timeout_s: float = STALL_TIMEOUT_S) -> None:
        self._process = process
        self._timeout_s = timeout_s
        self._deadline: float | None = None
        self._ended = threading.Event()
        self.has_stalled = False
        threading.Thread(target=self._watch, name="stall-guard", daemon=True).start()

    @contextmanager
    def waiting(self, timeout_s: float | None = None) -> Iterator[None]:
        """Wrap a read from the process, a write to it, or a wait for its end; the time limit may be another one."""
        self._deadline = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        try:
            yield
        finally:
            self._deadline = None

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._timeout_s / 4)):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                self.has_stalled = True
                self._process.kill()
                return


class StderrTail:
    """Read a process's standard error on a thread, so that the pipe never fills up, and keep the last lines.

    Attributes:
        has_no_space: True if ffmpeg reported a full disk.
        is_cut_short: True if the process could not write all of its output.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.has_no_space = False
        self.is_cut_short = False
        self._thread = threading.Thread(target=self._drain, name="stderr", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        for line in self._stream:
            text = line.decode(errors="replace").rstrip()
            self.has_no_space |= NO_SPACE in text
            self.is_cut_short |= self.has_no_space or is_cut_short(text)
            self._lines.append(text)

    def finish(self) -> str:
        """Wait for the end of the stream and return its telling line."""
        self._thread.join()
        self._stream.close()
        return error_line(list(self._lines))


def _guard_options(formats: Sequence[str]) -> dict[str, str]:
    """Return the input options that restrict protocols, containers and image size."""
    return {
        "protocol_whitelist": "file,pipe",
        "format_whitelist": ",".join(formats),
        "max_pixels": str(MAX_PIXELS),
    }


def _tool_name(name: str) -> ToolName:
    if name == "ffmpeg" or name == "ffprobe":
        return name
    raise ValueError(f"unknown tool {name!r}")
