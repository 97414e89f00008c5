"""Which frames of the result are repainted, and in which windows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

_ROWS_PER_SECOND = 50
_SAMPLES_PER_ROW = 320
"""Whisper's feature rows: 20 ms of 16 kHz sound."""


@dataclass(frozen=True)
class Run:
    """Neighbouring frames ``start <= i < stop`` of the result that all show the followed face, or all do not."""

    start: int
    stop: int
    has_face: bool

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class WindowSpan:
    """Frames ``start <= i < stop`` of a run that the U-Net repaints at once.

    ``settled`` is the first frame that a later window touches again (``stop`` where none does).
    """

    start: int
    stop: int
    settled: int


def find_runs(segments: Sequence[int], num_frames: int, source_index: Callable[[int], int]) -> list[Run]:
    """Cuts the result into runs of one segment of the source.

    Args:
        segments: for each source frame the number of its face segment, -1 where the followed face is absent.
        num_frames: length of the result.
        source_index: the source frame shown at a frame of the result.
    """
    segment_of = [int(segments[source_index(i)]) for i in range(num_frames)]
    runs: list[Run] = []
    start = 0
    for segment, frames in groupby(segment_of):
        stop = start + sum(1 for _ in frames)
        runs.append(Run(start, stop, segment >= 0))
        start = stop
    return runs


def plan_windows(length: int, size: int, overlap: int, short_last: bool = False) -> Iterator[WindowSpan]:
    """Covers ``length`` frames by windows of ``size`` that share ``overlap`` frames.

    The last window is moved back so that it is whole too; only a run shorter than ``size`` gets a shorter window. With
    ``short_last`` it stays where it is and has the frames that are left, as in the published system.
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


def published_length(num_samples: int, fps: int) -> int:
    """Frames of the published system's result: one or two more than the sound lasts, the last ones at its end.

    It counts up to the first frame i whose Whisper row int(50 i / fps) lies beyond the rows of the sound, inclusive.

    Args:
        num_samples: of the speech at 16 kHz.
        fps: frames per second.
    """
    num_rows = num_samples // _SAMPLES_PER_ROW
    return -(-fps * (num_rows + 1) // _ROWS_PER_SECOND) + 1
