"""Progress of the segments of a job: every worker writes a small file, the main process reports their sum."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from latentsync.pipelines.segments import Segment

_WRITE_INTERVAL_S = 0.5
_READ_INTERVAL_S = 0.5


@dataclass
class SegmentProgress:
    """Number of finished frames of a segment, in a file; a `lipsync_job.Progress`.

    Attributes:
        segment: the segment.
        path: the file.
    """

    segment: Segment
    path: Path
    _written_at: float = field(default=0.0, init=False)

    def __call__(self, stage: str, done: float, total: int) -> None:
        """Write the number now and then; `done` counts from the start of the video."""
        now = time.monotonic()
        if now - self._written_at >= _WRITE_INTERVAL_S:
            self._written_at = now
            self.write(min(max(done - self.segment.start, 0.0), len(self.segment)))

    def write(self, num_frames: float) -> None:
        """Write the number of finished frames of the segment."""
        self.path.write_text(f"{num_frames:.2f}", encoding="ascii")

    def read(self) -> float:
        """Return the number of finished frames of the segment; 0 if it is not known."""
        try:
            return float(self.path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # not started yet, or being written
            return 0.0


@contextmanager
def reporting(
    progress: Callable[[float, int], None], segments: Sequence[SegmentProgress]
) -> Iterator[Callable[[], None]]:
    """Report the sum of all segments while the block runs.

    Args:
        progress: called with the number of finished frames and of all frames.
        segments: progress of each segment.

    Yields:
        A function that raises the error of `progress`, if it has raised one.
    """
    ended, errors = Event(), list[BaseException]()
    total = sum(len(each.segment) for each in segments)

    def check() -> None:
        if errors:
            raise errors[0]

    def report() -> None:
        try:
            while not ended.wait(_READ_INTERVAL_S):
                progress(sum(each.read() for each in segments), total)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=report, name="segment-progress", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        ended.set()
        thread.join()
    check()
    progress(total, total)
