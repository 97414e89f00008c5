"""Read video frames from any file that ffmpeg reads: upright, square pixels, constant rate, 8-bit RGB.

An ffmpeg process decodes into a pipe, so memory holds one frame at a time for any length of video.
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
from latentsync.frame_buffers import FrameBuffers
from latentsync.media.ffmpeg_tools import (
    RUN_TIMEOUT_S,
    SCALE_FLAGS,
    STALL_TIMEOUT_S,
    StallGuard,
    StderrTail,
    Stream,
    ffmpeg_command,
    media_input,
    seek_before,
    tool_command,
)
from latentsync.media.probe import VideoInfo, probe_video

logger = logging.getLogger(__name__)

_MAX_THREADS = 4
_PIPE_BYTES = 1 << 20


class VideoReader:
    """Iterator over the frames of a video as uint8 RGB arrays (height, width, 3); a context manager for one pass.

    Each source frame is assigned to the nearest point of a grid of 1 / fps seconds that begins with the first frame,
    and repeated until the next one. Of a damaged file, the frames that can be decoded are returned, and a warning is
    logged at the end.

    Args:
        path: the video.
        fps: frames per second of the output; None keeps the source's average rate, made constant.
        max_frames: number of frames after which reading stops.
        size: (width, height) to which frames are scaled.
        scale_flags: settings of ffmpeg's `scale` filter.
        first_frame: first frame of the grid to return.
        seek: find that frame by seeking. A file with unusual timestamps may begin at another frame (`RepeatedReader`
            and `SeekCheck` detect this). False: decode everything before it, too.
        info: result of `probe_video`, if already known.
        buffers: memory of the frames.

    Attributes:
        info: properties of the video.
        fps, width, height: of the returned frames.
        num_read: number of frames returned so far.

    Raises:
        InputError: the file cannot be used; decoding starts with the `with` block.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | None = Fraction(25),
        max_frames: int | None = None,
        size: tuple[int, int] | None = None,
        *,
        first_frame: int = 0,
        seek: bool = True,
        info: VideoInfo | None = None,
        scale_flags: str = SCALE_FLAGS,
        buffers: FrameBuffers | None = None,
    ) -> None:
        self.info = info if info is not None else probe_video(path)
        self.fps = self.info.fps if fps is None else Fraction(fps)
        self.width, self.height = size if size is not None else (self.info.width, self.info.height)
        self.num_read = 0
        self._max_frames = max_frames
        self._first_frame = first_frame
        self._seek = seek
        self._scale_flags = scale_flags
        self._buffers = buffers or FrameBuffers()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: StderrTail | None = None
        self._guard: StallGuard | None = None

    def __enter__(self) -> "VideoReader":
        self._process = subprocess.Popen(  # no shell; own session: Ctrl-C reaches only this process
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
        """End the decoder; no effect if it has ended."""
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
        skips = self.num_read == 0 and self._first_frame > 0  # ffmpeg may decode all frames before the first one
        with self._guard.waiting(RUN_TIMEOUT_S if skips else None):
            return read_frame(stream, self.width, self.height, self._buffers)

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
        video = constant_rate(self.info, self.fps, self._first_frame, seek=self._seek)
        limit = {} if self._max_frames is None else {"vframes": self._max_frames}
        output = self._converted(video).output("pipe:1", format="rawvideo", pix_fmt="rgb24", **limit)
        return tool_command(ffmpeg_command(output, options=["-copyts"]))

    def _converted(self, video: Stream) -> Stream:
        """Convert colours and size."""
        matrix = {} if self.info.color_space != "unknown" else {"in_color_matrix": default_matrix(self.info)}
        return video.filter("scale", self.width, self.height, flags=self._scale_flags, **matrix).filter("setsar", 1)


def constant_rate(info: VideoInfo, fps: Fraction, first_frame: int = 0, *, seek: bool = True) -> Stream:
    """Return the decoded frames of a video at a constant rate, from `first_frame` on; see `VideoReader`.

    With the option -copyts and an integer `start_pts` the grid is the same after a seek.
    """
    seeking = seek_before(float(first_frame / fps)) if seek and first_frame > 0 else {}
    source = media_input(info.path, threads=min(_MAX_THREADS, os.cpu_count() or 1), **seeking)
    start = "STARTPTS" if info.start_pts is None else str(info.start_pts)
    video = source["V:0"].filter("setpts", f"PTS-({start})")
    video = video.filter("fps", f"{fps.numerator}/{fps.denominator}")
    if first_frame > 0:  # frames are counted unless a seek has skipped some
        video = video.filter("trim", **{"start_pts" if seek else "start_frame": first_frame})
    return video.filter("setpts", "PTS-STARTPTS")


def read_frame(stream: IO[bytes], width: int, height: int, buffers: FrameBuffers) -> NDArray[np.uint8] | None:
    """Read the next raw RGB frame (height, width, 3) of a stream; None at its end. An incomplete frame is dropped."""
    frame = buffers.new(height, width)
    view = frame.data.cast("B")
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # BufferedReader has it, IO does not
        if not count:
            return None
        filled += count
    return frame


def default_matrix(info: VideoInfo) -> str:
    """Return the YCbCr matrix that players assume if the file names none: BT.709 for high definition, else BT.601."""
    return "bt709" if info.width >= 1280 or info.height > 576 else "bt601"
