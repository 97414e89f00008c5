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
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.media.ffmpeg_tools import (
    SCALE_FLAGS,
    STALL_TIMEOUT_S,
    StallGuard,
    StderrTail,
    Stream,
    ffmpeg_command,
    media_input,
    tool_command,
)
from latentsync.media.probe import VideoInfo, probe_video

logger = logging.getLogger(__name__)

_MAX_THREADS = 4
_PIPE_BYTES = 1 << 20

_SEEK_EARLY_S = 2
"""Seek this much early so that decoding starts at an earlier key frame; open-GOP frames that reference frames before it
are skipped."""


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
        seek: dict[str, Any] = {}
        if self._first_frame > 0:
            seek_s = max(0.0, float(self._first_frame / self.fps) - _SEEK_EARLY_S)
            seek = {"noaccurate_seek": None, "ss": f"{seek_s:.6f}"}
        source = media_input(self.info.path, threads=min(_MAX_THREADS, os.cpu_count() or 1), **seek)
        limit = {} if self._max_frames is None else {"vframes": self._max_frames}
        output = self._filtered(source["V:0"]).output("pipe:1", format="rawvideo", pix_fmt="rgb24", **limit)
        return tool_command(ffmpeg_command(output, options=["-copyts"]))

    def _filtered(self, video: Stream) -> Stream:
        """Set the frame rate, then colours and size. With -copyts and integer pts a seek meets the same grid."""
        start = "STARTPTS" if self.info.start_pts is None else str(self.info.start_pts)
        video = video.filter("setpts", f"PTS-({start})")
        video = video.filter("fps", f"{self.fps.numerator}/{self.fps.denominator}")
        if self._first_frame > 0:
            video = video.filter("trim", start_pts=self._first_frame)
        video = video.filter("setpts", "PTS-STARTPTS")
        matrix = {} if self.info.color_space != "unknown" else {"in_color_matrix": likely_matrix(self.info)}
        return video.filter("scale", self.width, self.height, flags=SCALE_FLAGS, **matrix).filter("setsar", 1)


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
