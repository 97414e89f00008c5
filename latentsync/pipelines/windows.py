"""Temporal windows: which frames the U-Net processes together, and how overlapping windows are blended."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

_ROWS_PER_SECOND = 50
_SAMPLES_PER_ROW = 320
"""One Whisper feature row covers 20 ms of audio at 16 kHz."""


@dataclass(frozen=True)
class FaceInterval:
    """Consecutive frames ``start <= i < stop`` of the result that all show the followed face, or all lack it."""

    start: int
    stop: int
    has_face: bool

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class WindowSpan:
    """Frames ``start <= i < stop`` of a face interval that form one window.

    Attributes:
        start, stop: frames of the window, counted from the start of the interval.
        settled: first frame that the next window contains too; `stop` if there is no such frame.
    """

    start: int
    stop: int
    settled: int


def find_intervals(segments: Sequence[int], num_frames: int, source_index: Callable[[int], int]) -> list[FaceInterval]:
    """Split the result into intervals that come from one face segment of the source video.

    Args:
        segments: face segment number of each source frame, -1 for frames without the followed face.
        num_frames: length of the result.
        source_index: maps a frame of the result to its source frame.
    """
    segment_of = [int(segments[source_index(i)]) for i in range(num_frames)]
    intervals: list[FaceInterval] = []
    start = 0
    for segment, frames in groupby(segment_of):
        stop = start + sum(1 for _ in frames)
        intervals.append(FaceInterval(start, stop, segment >= 0))
        start = stop
    return intervals


def plan_windows(length: int, size: int, overlap: int, short_last: bool = False) -> Iterator[WindowSpan]:
    """Cover `length` frames with windows of `size` frames that overlap by `overlap` frames.

    The last window is shifted back, so that the motion modules process complete windows. Only an interval shorter than
    `size` gets a shorter window.

    Args:
        length: frames to cover.
        size: frames of a window.
        overlap: frames shared by neighbouring windows.
        short_last: use the published rule instead: windows do not overlap, and the last one has the remaining frames.
    """
    if short_last:
        for start in range(0, length, size):
            stop = min(start + size, length)
            yield WindowSpan(start, stop, stop)
        return
    stride = size - overlap
    starts = [*range(0, max(length - size, 0), stride), max(length - size, 0)]
    for start, following in zip(starts, [*starts[1:], length], strict=True):
        stop = min(start + size, length)
        yield WindowSpan(start, stop, min(following, stop))


@dataclass(frozen=True)
class PlannedWindow:
    """A window at its place in the result; all frames are frames of the result.

    Attributes:
        interval: the interval that it belongs to.
        start, stop: its frames ``start <= i < stop``.
        first_new: first frame that no earlier window contains.
        settled: first frame that the next window contains too; `stop` if there is no such frame.
    """

    interval: FaceInterval
    start: int
    stop: int
    first_new: int
    settled: int

    def __len__(self) -> int:
        return self.stop - self.start


def windows_of(interval: FaceInterval, size: int, overlap: int, short_last: bool = False) -> Iterator[PlannedWindow]:
    """Yield the windows of an interval; other arguments as for `plan_windows`."""
    first_new = interval.start
    for span in plan_windows(len(interval), size, overlap, short_last):
        start, stop, settled = (interval.start + frame for frame in (span.start, span.stop, span.settled))
        yield PlannedWindow(interval, start, stop, first_new, settled)
        first_new = stop


def published_length(num_samples: int, fps: int) -> int:
    """Return the number of frames that the published system generates for an audio file.

    It counts frames up to and including the first frame i whose Whisper row int(50 i / fps) lies beyond the audio, so
    the result is one or two frames longer than the audio.

    Args:
        num_samples: length of the audio at 16 kHz.
        fps: frames per second.
    """
    num_rows = num_samples // _SAMPLES_PER_ROW
    return -(-fps * (num_rows + 1) // _ROWS_PER_SECOND) + 1


class WindowBlender:
    """Cross-fade overlapping windows, which avoids jumps at window borders.

    A frame that two windows contain is interpolated linearly: the weight of the later window grows over the overlap.
    The pipeline blends latents, so that each frame is decoded once. `python -m benchmarks.window_borders` measures the
    change between frames at window borders (docs/measurements.md).
    """

    def __init__(self) -> None:
        self._pending: deque[Tensor] = deque()

    def add(self, window: Tensor, num_settled: int) -> Iterator[Tensor]:
        """Blend in the next window and yield the frames that no later window changes, oldest first.

        Args:
            window: (f, c, h, w) images or latents; its first frames are the pending frames of the previous windows.
            num_settled: number of leading frames of the window that no later window contains.
        """
        num_shared = len(self._pending)
        for i, frame in enumerate(window):
            if i < num_shared:
                weight = (i + 1) / (num_shared + 1)
                self._pending[i] = torch.lerp(self._pending[i], frame, weight)
            else:
                self._pending.append(frame)
        for _ in range(num_settled):
            yield self._pending.popleft()
