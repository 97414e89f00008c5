"""Read a video that is repeated until the audio ends, with bounded memory and disk space.

A forward pass decodes the file. A backward pass seeks to a block of frames, decodes it into an unnamed temporary file
of raw frames, and reads that in reverse. Seeks are verified: the first pass stores a checksum of every frame, and a
block that does not match is decoded again from the beginning of the file. Only `Repeat.BOUNCE` and
`Repeat.BOUNCE_TWICE` read backwards.
"""

import logging
import tempfile
import zlib
from array import array
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from enum import Enum
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from latentsync.errors import InputError
from latentsync.frame_buffers import FrameBuffers
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader, read_frame

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 30
"""Largest size of a block on disk: 172 frames of 1080p."""


class Repeat(Enum):
    """What follows the last frame of a video that is too short.

    BOUNCE: it is played backwards and forwards; the frame at each turn appears once.
    BOUNCE_TWICE: likewise, and the frame at each turn appears twice, as in the published system.
    LOOP: it starts again from its first frame.
    FREEZE: its last frame is held.
    """

    BOUNCE = "bounce"
    BOUNCE_TWICE = "bounce twice"
    LOOP = "loop"
    FREEZE = "freeze"

    @property
    def is_backward(self) -> bool:
        """True if frames are read backwards."""
        return self in (Repeat.BOUNCE, Repeat.BOUNCE_TWICE)


def source_index(index: int, num_source_frames: int, repeat: Repeat = Repeat.BOUNCE) -> int:
    """Return the source frame at an output index; by default 0, 1, ... n-1, n-2, ... 1, 0, 1, ...

    Args:
        index: frame of the output.
        num_source_frames: n.
        repeat: what follows frame n-1.
    """
    if index < 0 or num_source_frames < 1:
        raise ValueError(f"frame {index} of {num_source_frames} source frames does not exist")
    if repeat is Repeat.FREEZE:
        return min(index, num_source_frames - 1)
    if repeat is Repeat.LOOP:
        return index % num_source_frames
    if repeat is Repeat.BOUNCE_TWICE:
        phase = index % (2 * num_source_frames)
        return min(phase, 2 * num_source_frames - 1 - phase)
    if num_source_frames == 1:
        return 0
    phase = index % (2 * num_source_frames - 2)
    return min(phase, 2 * num_source_frames - 2 - phase)


class RepeatedReader:
    """Iterator over exactly `num_frames` pairs (source_index, frame); frame is uint8 RGB (height, width, 3).

    A context manager for one pass. Backward frames are bit-identical to forward ones.

    Args:
        path: the video.
        fps: frames per second, as for `VideoReader`.
        num_source_frames: number of frames counted in an earlier pass at the same `fps`.
        num_frames: number of frames to return.
        folder: folder of the temporary file; None is the system's.
        block_bytes: largest size of the temporary file, or one frame if that is larger.
        repeat: what follows the last frame.
        first_frame: frame of the output to start with, instead of the first one.
        seek: find that frame by seeking, in a video that is not repeated. `SeekCheck` shows whether it is the
            right one.
    """

    def __init__(
        self,
        path: str | Path,
        fps: Fraction | None,
        num_source_frames: int,
        num_frames: int,
        folder: Path | None = None,
        block_bytes: int = _BLOCK_BYTES,
        repeat: Repeat = Repeat.BOUNCE,
        first_frame: int = 0,
        seek: bool = False,
    ) -> None:
        if num_source_frames < 1 or num_frames < 0:
            raise ValueError(f"cannot show {num_frames} frames of {num_source_frames}")
        if seek and num_frames > num_source_frames:
            raise ValueError("a video that is repeated cannot be read after a seek")
        self._info = probe_video(path)
        self.fps = self._info.fps if fps is None else Fraction(fps)
        self.width, self.height = self._info.width, self._info.height
        self._num_source = num_source_frames
        self._num_frames = num_frames
        self._num_left = num_frames - first_frame
        self._first_frame = first_frame
        self._first_checked = max(0, 2 * num_source_frames - 1 - num_frames)
        self._folder = folder
        self._repeat = repeat
        self._seek = seek
        self._buffers = FrameBuffers()
        self._frame_bytes = self.width * self.height * 3
        self._block_frames = max(1, block_bytes // self._frame_bytes)
        self._checksums = array("L")  # of the frames from _first_checked on, which backward passes read
        self._can_seek = self._info.start_pts is not None
        self._block: IO[bytes] | None = None
        self._block_range = range(0)
        self._frames = self._cycle()
        self._resources = ExitStack()
        self._resources.callback(self._frames.close)

    def __enter__(self) -> "RepeatedReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder and remove the temporary file."""
        self._resources.close()

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the frames. Raises InputError if the video has fewer than `num_source_frames`."""
        for indexed_frame in islice(self._frames, self._num_left):
            self._num_left -= 1
            yield indexed_frame

    def _cycle(self) -> Generator[tuple[int, NDArray[np.uint8]], None, None]:
        if self._repeat is Repeat.FREEZE:
            yield from self._forward_and_hold()
        num_skipped = self._first_frame
        for is_forward, indices in self._passes():
            if num_skipped < len(indices):
                yield from self._forward(indices[num_skipped]) if is_forward else self._backward(indices[num_skipped:])
            elif self._needs_checksums:
                yield from self._forward(self._num_source)
            num_skipped = max(0, num_skipped - len(indices))

    def _passes(self) -> Iterator[tuple[bool, range]]:
        """Yield all passes, endless in number: True for a forward one, and the source frames that it shows."""
        last, turns_once = self._num_source - 1, self._repeat is Repeat.BOUNCE and self._num_source > 1
        yield True, range(last + 1)
        while True:
            if self._repeat.is_backward:
                yield False, range(last if self._repeat is Repeat.BOUNCE_TWICE else last - 1, -1, -1)
            yield True, range(1 if turns_once else 0, last + 1)

    def _forward_and_hold(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield all frames, and then endless copies of the last one."""
        last: tuple[int, NDArray[np.uint8]] | None = None
        for last in self._forward(min(self._first_frame, self._num_source - 1)):
            yield last
        assert last is not None  # or InputError was raised
        index, frame = last
        while True:
            yield index, self._buffers.copy(frame)

    @property
    def _needs_checksums(self) -> bool:
        """True until the first forward pass of a video that is read backwards later."""
        return self._repeat.is_backward and self._num_frames > self._num_source and not self._checksums

    def _forward(self, start: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the frames from `start` on; the first pass stores checksums if they are needed."""
        needs_checksums = self._needs_checksums
        first = 0 if needs_checksums else start
        with self._reader(first, self._num_source - first, seek=self._seek) as reader:
            index = first - 1
            for index, frame in enumerate(reader, first):
                if needs_checksums and index >= self._first_checked:
                    self._checksums.append(zlib.crc32(frame.data))
                if index >= start:
                    yield index, frame
                if index + 1 == self._num_source:
                    return
            raise InputError(
                f"{self._info.path} ended after {index + 1} of {self._num_source} frames: did it change during the job?"
            )

    def _backward(self, indices: range) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indices:
            if index not in self._block_range:
                self._fill_block(max(0, index + 1 - min(self._block_frames, self._num_left)), index + 1)
            assert self._block is not None
            self._block.seek((index - self._block_range.start) * self._frame_bytes)
            frame = read_frame(self._block, self.width, self.height, self._buffers)
            assert frame is not None
            yield index, frame

    def _fill_block(self, start: int, stop: int) -> None:
        if self._can_seek and self._decode_block(start, stop, seek=True):
            return
        if self._can_seek:
            logger.warning("%s cannot be searched exactly: reading backwards will be slow", self._info.path)
            self._can_seek = False
        if not self._decode_block(start, stop, seek=False):
            raise InputError(f"{self._info.path} decodes differently each time: convert it and try again")

    def _decode_block(self, start: int, stop: int, *, seek: bool) -> bool:
        """Write frames [start, stop) into the temporary file; return True if they equal those of the first pass."""
        self._block_range = range(0)
        if self._block is None:
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (reused for the next blocks)
            self._block = self._resources.enter_context(file)
        self._block.seek(0)
        index = start - 1
        with self._reader(start, stop - start, seek=seek) as reader:
            for index, frame in enumerate(reader, start):
                if zlib.crc32(frame.data) != self._checksums[index - self._first_checked]:
                    return False
                self._write(frame)
        if index + 1 != stop:
            return False
        self._block.flush()
        self._block_range = range(start, stop)
        return True

    def _write(self, frame: NDArray[np.uint8]) -> None:
        assert self._block is not None
        try:
            self._block.write(frame.data)
        except OSError as error:
            raise InputError(
                f"the temporary folder is full or unwritable ({error.strerror}): free "
                f"{self._block_frames * self._frame_bytes >> 20} MiB or name another with --temp_dir"
            ) from error

    def _reader(self, first_frame: int, max_frames: int, *, seek: bool) -> VideoReader:
        return VideoReader(
            self._info.path,
            self.fps,
            max_frames=max_frames,
            first_frame=first_frame,
            seek=seek,
            info=self._info,
            buffers=self._buffers,
        )
