"""Compare the frames that a seek finds with those of decoding from the beginning.

A seek may land at another frame, or decode it differently: in containers without an index or with unusual timestamps,
and where frames depend on others before the key frame. Decoded frames are compared by their checksums, before colours
and size are converted, which takes most of the time of reading.
"""

import subprocess
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from threading import Event, Thread
from types import TracebackType

from latentsync.media.ffmpeg_tools import StallGuard, ffmpeg_command, tool_command
from latentsync.media.probe import VideoInfo
from latentsync.media.reader import constant_rate

FrameRange = tuple[int, int]
"""Frames ``start <= i < stop`` of a video at a constant rate."""

_TRIAL_S = 1.0
"""Length of the trial of `can_seek`."""
_WAIT_S = 0.5


def frame_checksums(
    info: VideoInfo, fps: Fraction, first_frame: int = 0, num_frames: int | None = None, *, seek: bool = False
) -> Generator[int, None, None]:
    """Yield the Adler-32 checksum of each decoded frame; the arguments are those of `VideoReader`."""
    limit = {} if num_frames is None else {"vframes": num_frames}
    video = constant_rate(info, fps, first_frame, seek=seek)
    command = ffmpeg_command(video.output("pipe:1", format="framecrc", **limit), options=["-copyts"])
    process = subprocess.Popen(  # no shell; own session: Ctrl-C reaches only this process
        tool_command(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the reader reports damage
        text=True,
        start_new_session=True,
    )
    guard = StallGuard(process)  # type: ignore[arg-type]  # it ends the process, whatever its pipes transfer
    assert process.stdout is not None
    try:
        while True:
            with guard.waiting():
                line = process.stdout.readline()
            if not line:
                return
            if not line.startswith("#"):
                yield int(line.split(",")[5], 16)
    finally:
        guard.end()
        process.kill()
        process.stdout.close()
        process.wait()


def can_seek(info: VideoInfo, fps: Fraction, start: int) -> bool:
    """Return True if a seek to a frame finds the right ones; in a container without timestamps it does not.

    The video is decoded up to there: an early frame takes little time.
    """
    if info.start_pts is None:
        return False
    with SeekCheck([info], fps, [(start, start + round(_TRIAL_S * fps))]) as check:
        return check.is_exact(0)


class SeekCheck:
    """Thread that decodes videos once from the beginning and compares ranges with those that seeks find.

    A context manager.

    Args:
        videos: videos that are read together.
        fps: frames per second at which they are read.
        ranges: the frames to compare, each after a seek to its start.
    """

    def __init__(self, videos: Sequence[VideoInfo], fps: Fraction, ranges: Sequence[FrameRange]) -> None:
        self._videos, self._fps, self._ranges = videos, fps, ranges
        self._is_exact = [True] * len(ranges)
        self._checked = [Event() for _ in ranges]
        self._errors = list[BaseException]()
        self._ended = Event()
        self._thread = Thread(target=self._run, name="seek-check", daemon=True)

    def __enter__(self) -> "SeekCheck":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def is_exact(self, number: int, while_waiting: Callable[[], None] | None = None) -> bool:
        """Wait until a range is compared; return True if the seek finds equal frames in all videos.

        Args:
            number: of the range.
            while_waiting: called now and then; its exceptions are passed on.
        """
        while not self._checked[number].wait(_WAIT_S):
            if while_waiting is not None:
                while_waiting()
        if self._errors:
            raise self._errors[0]
        return self._is_exact[number]

    def _run(self) -> None:
        try:
            self._compare()
        except BaseException as error:  # raised again where the result is needed
            self._errors.append(error)
        finally:
            for each in self._checked:
                each.set()

    def _compare(self) -> None:
        known: list[list[int]] = [[] for _ in self._videos]
        decoders = [self._checksums(video) for video in self._videos]
        try:
            for number, (start, stop) in enumerate(self._ranges):
                for video, checksums, decoder in zip(self._videos, known, decoders, strict=True):
                    checksums.extend(islice(decoder, max(0, stop - len(checksums))))
                    with closing(self._checksums(video, start, stop - start, seek=True)) as found:
                        self._is_exact[number] &= list(found) == checksums[start:stop]
                self._checked[number].set()
        finally:
            for decoder in decoders:
                decoder.close()

    def _checksums(
        self, video: VideoInfo, first_frame: int = 0, num_frames: int | None = None, *, seek: bool = False
    ) -> Generator[int, None, None]:
        """Yield the checksums until the block ends."""
        with closing(frame_checksums(video, self._fps, first_frame, num_frames, seek=seek)) as checksums:
            for checksum in checksums:
                if self._ended.is_set():
                    return
                yield checksum
