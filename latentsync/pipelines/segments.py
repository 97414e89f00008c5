"""Segments of a result that workers generate, and what a worker computes so that its frames equal a whole job's.

A frame depends on more than itself: on all windows that contain it, whose latents are blended; on the crops that these
windows share with the one before, which are encoded with that one; on the windows in the same batch, since roundings
differ with the size of a batch; and on what is remembered of earlier frames (`PersonStages.windows_in`). `WindowRange`
names all of it. What a worker generates beyond its segment is dropped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from latentsync.pipelines.windows import FaceInterval, PlannedWindow

MIN_SEGMENT_FRAMES = 64
"""Generated frames of the shortest segment: every cut within an interval costs one more window of 16 frames."""

_UNCHANGED_COST = 0.02
"""Cost of a frame without a generated mouth, relative to a frame with one."""


@dataclass(frozen=True)
class Segment:
    """Frames ``start <= i < stop`` of the result that one worker generates."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def overlap(self, start: int, stop: int) -> "Segment":
        """Return the frames that are also in ``start <= i < stop``."""
        start = max(self.start, start)
        return Segment(start, max(start, min(self.stop, stop)))


@dataclass(frozen=True)
class WindowRange:
    """What is computed of one person for a segment; all numbers are frames of the result.

    Attributes:
        first_read, stop_read: frames ``first_read <= i < stop_read`` that are read.
        first_crop: first frame that is remembered or encoded.
        first_encoded: start of the first window that is encoded.
        first_generated, last_generated: starts of the first and of the last window that are generated.
    """

    first_read: int
    stop_read: int
    first_crop: int
    first_encoded: int
    first_generated: int
    last_generated: int

    @classmethod
    def whole(cls, num_frames: int) -> "WindowRange":
        """Return the range of a job that is one segment."""
        return cls(0, num_frames, 0, 0, 0, num_frames)

    @classmethod
    def of(
        cls,
        segment: Segment,
        windows: Sequence[PlannedWindow],
        batch_windows: int,
        first_remembered: Callable[[FaceInterval, int], int],
    ) -> "WindowRange":
        """Return the range of a segment.

        Args:
            segment: the segment.
            windows: all windows of the person.
            batch_windows: windows per forward pass.
            first_remembered: returns the first frame of an interval whose crop affects that of a given frame.
        """
        needed = [
            batch
            for batch in batches_of(windows, batch_windows)
            if any(window.start < segment.stop and segment.start < window.stop for window in batch)
        ]
        if not needed:
            return cls(segment.start, segment.stop, segment.stop, segment.stop, segment.stop, -1)
        first, last = needed[0][0], needed[-1][-1]
        of_interval = (window for window in windows if window.interval == first.interval)
        encoded = next(window for window in of_interval if window.stop > first.start)
        first_crop = first_remembered(encoded.interval, encoded.first_new)
        first_read, stop_read = min(segment.start, first_crop), max(segment.stop, last.stop)
        return cls(first_read, stop_read, first_crop, encoded.start, first.start, last.start)

    def crops(self, window: PlannedWindow) -> bool:
        """Return True for a window whose new frames are cropped."""
        return self.first_crop < window.stop and window.start <= self.last_generated

    def encodes(self, window: PlannedWindow) -> bool:
        """Return True for a window that is encoded."""
        return self.first_encoded <= window.start <= self.last_generated

    def generates(self, window: PlannedWindow) -> bool:
        """Return True for a window that is generated."""
        return self.first_generated <= window.start <= self.last_generated


def batches_of(windows: Sequence[PlannedWindow], size: int) -> Iterator[list[PlannedWindow]]:
    """Group windows as `window_stages.batch_chunks` does: `size` of equal length without a frame in between."""
    batch: list[PlannedWindow] = []
    for window in windows:
        if batch and (len(batch) == size or not _can_share_a_batch(batch[-1], window)):
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _can_share_a_batch(window: PlannedWindow, following: PlannedWindow) -> bool:
    return len(window) == len(following) and following.first_new == window.stop


def plan_segments(
    people: Sequence[Sequence[PlannedWindow]],
    num_frames: int,
    num_segments: int,
    min_frames: int = MIN_SEGMENT_FRAMES,
) -> list[Segment]:
    """Cut a result into segments of about equal cost, where a cut costs least: between the new frames of two windows.

    Args:
        people: windows of each person.
        num_frames: length of the result.
        num_segments: largest number of segments.
        min_frames: generated frames of the shortest segment, about.
    """
    costs = np.full(num_frames, _UNCHANGED_COST)
    for windows in people:
        for window in windows:
            costs[window.first_new : window.stop] += 1
    num_segments = max(1, min(num_segments, int(costs.sum()) // min_frames))
    done = np.concatenate(([0.0], np.cumsum(costs)))
    cuts = np.array(sorted({cut for windows in people for each in windows for cut in (each.first_new, each.stop)}))
    chosen = {0, num_frames}
    for number in range(1, num_segments):
        target = done[-1] * number / num_segments
        chosen.add(int(cuts[np.abs(done[cuts] - target).argmin()]))
    return [Segment(start, stop) for start, stop in pairwise(sorted(chosen))]
