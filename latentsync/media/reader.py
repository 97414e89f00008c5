"""Video frames from any file ffmpeg reads: upright, square pixels, constant rate, 8-bit RGB.

One ffmpeg process decodes into a pipe, so memory holds a frame at a time however long the video is.
"""

import logging
import os
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.media.ffmpeg import STALL_TIMEOUT_S, StallGuard, StderrTail, input_options, tool_command
from latentsync.media.probe import VideoInfo, probe_video

logger = logging.getLogger(__name__)

_MAX_THREADS = 4
_PIPE_BYTES = 1 << 20
_SCALER = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"


class VideoReader:
    """Frames of a video as an iterator of uint8 RGB arrays (height, width, 3); a context manager, one pass.

    Each source frame goes to the nearest point of a grid of 1/fps that begins with the first frame, and is held until
    the next. A file that is damaged midway gives what can be decoded, and a warning at the end. `num_read` counts
    what came out.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | None = Fraction(25),
        max_frames: int | None = None,
        size: tuple[int, int] | None = None,
        *,
        first_frame: int = 0,
        info: VideoInfo | None = None,
    ) -> None:
        """Look at the file; nothing is decoded before `with`.

        fps: frames per second that come out; None keeps the source's average rate, made constant.
        max_frames: stop after so many. size: (width, height) to scale to.
        first_frame: begin with this frame of the grid, found by seeking; a file with unusual time stamps may begin
            elsewhere (PingPongReader checks). info: what `probe_video` said, where the caller has it already.
        Raises InputError where the file cannot be used.
        """
        self.info = info if info is not None else probe_video(path)
        self.fps = self.info.fps if fps is None else Fraction(fps)
        self.width, self.height = size if size is not None else (self.info.width, self.info.height)
        self.num_read = 0
        self._max_frames = max_frames
        self._first_frame = first_frame
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: StderrTail | None = None
        self._guard: StallGuard | None = None

    def __enter__(self) -> "VideoReader":
        self._process = subprocess.Popen(  # argument list, no shell; its own session, so that Ctrl-C reaches us alone
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=_PIPE_BYTES,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._stderr = StderrTail(self._process.stderr)
        self._guard = StallGuard(self._process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder; harmless when it has ended already."""
        if self._process is None or self._stderr is None:
            return
        process, self._process = self._process, None
        if self._guard is not None:
            self._guard.end()
        process.kill()
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
        self._stderr.finish()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames; InputError where not a single one can be decoded."""
        if self._process is None:
            raise ValueError("VideoReader is used as a context manager: with VideoReader(...) as frames")
        assert self._process.stdout is not None
        while (frame := self._read(self._process.stdout)) is not None:
            self.num_read += 1
            yield frame
            if self._process is None:
                return
        if self._process is not None:  # else closed from elsewhere while we waited for a frame
            self._finish()

    def _read(self, stream: IO[bytes]) -> NDArray[np.uint8] | None:
        assert self._guard is not None
        with self._guard.waiting():
            return read_frame(stream, self.width, self.height)

    def _finish(self) -> None:
        assert self._process is not None
        assert self._guard is not None
        if self._guard.has_stalled:
            raise InputError(f"{self.info.path} gave no frame for {STALL_TIMEOUT_S:g} s: is its disk or server gone?")
        assert self._stderr is not None
        status = self._process.wait()
        complaint = self._stderr.finish()
        if self.num_read == 0 and self._first_frame == 0:
            raise InputError(f"{self.info.path} has no video frame that can be decoded: give another video")
        if status != 0 or complaint:
            logger.warning(
                "%s is damaged: %d frames were read (ffmpeg: %s)", self.info.path, self.num_read, complaint or status
            )

    def _command(self) -> list[str]:
        threads = str(min(_MAX_THREADS, os.cpu_count() or 1))
        seek = []
        if self._first_frame > 0:
            # Two seconds early: the key frame before is found, and frames that lean on what precedes it have passed.
            seek = ["-noaccurate_seek", "-ss", f"{max(0.0, float(self._first_frame / self.fps) - 2):.6f}"]
        limit = [] if self._max_frames is None else ["-frames:v", str(self._max_frames)]
        return [
            *tool_command(["ffmpeg", "-nostdin", "-v", "error", "-threads", threads, "-copyts", *seek]),
            *(*input_options(self.info.path), "-map", "0:V:0", "-vf", self._filters(), *limit),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
        ]

    def _filters(self) -> str:
        """Time first, then colour and size. With -copyts and whole-number pts a seek meets the same grid exactly."""
        start = "STARTPTS" if self.info.start_pts is None else str(self.info.start_pts)
        rate = f"fps={self.fps.numerator}/{self.fps.denominator}"
        since = [f"trim=start_pts={self._first_frame}"] if self._first_frame > 0 else []
        matrix = [] if self.info.color_space != "unknown" else [f"in_color_matrix={likely_matrix(self.info)}"]
        scale = ":".join([f"scale={self.width}:{self.height}", f"flags={_SCALER}", *matrix])
        return ",".join([f"setpts=PTS-({start})", rate, *since, "setpts=PTS-STARTPTS", scale, "setsar=1"])


def read_frame(stream: IO[bytes], width: int, height: int) -> NDArray[np.uint8] | None:
    """The next raw RGB frame (height, width, 3) of a stream, writable; None at its end (a cut-off frame is dropped)."""
    buffer = bytearray(width * height * 3)
    view = memoryview(buffer)
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # BufferedReader has it, IO does not
        if not count:
            return None
        filled += count
    return np.frombuffer(buffer, dtype=np.uint8).reshape(height, width, 3)


def likely_matrix(info: VideoInfo) -> str:
    """What players assume of a file that names no colour matrix: BT.709 for high definition, else BT.601."""
    return "bt709" if info.width >= 1280 or info.height > 576 else "bt601"
