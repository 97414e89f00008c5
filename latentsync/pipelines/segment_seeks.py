"""Seeks with which workers find the first frames of their segments; verified while the segments are generated."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

from latentsync.media.occluder_masks import MaskVideo
from latentsync.media.probe import VideoInfo
from latentsync.media.seek_check import SeekCheck, can_seek
from latentsync.pipelines.lipsync_job import LipsyncJob
from latentsync.pipelines.segments import Segment

MIN_SEEK_S = 10.0
"""Time in the source from which a segment is found by seeking; up to there, decoding takes less time than the check."""


@dataclass
class SegmentSeeks:
    """The segments that are found by seeking, and whether the seeks have found the right frames.

    A context manager, in which a thread decodes the source once. A segment is not found by seeking if the source is
    repeated before its end, or if a seek to `min_seek_s` fails already.

    Attributes:
        job: the job.
        shown: frames that are read for each segment.
        num_source_frames: number of frames counted in the first pass.
        min_seek_s: see `MIN_SEEK_S`.
    """

    job: LipsyncJob
    shown: Sequence[Segment]
    num_source_frames: int
    min_seek_s: float = MIN_SEEK_S
    _sought: list[int] = field(default_factory=list, init=False)
    _resources: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> "SegmentSeeks":
        first = round(self.min_seek_s * self.job.fps)
        sought = [i for i, each in enumerate(self.shown) if each.start >= first and each.stop <= self.num_source_frames]
        if sought and all(can_seek(video, self.job.fps, first) for video in self._videos()):
            self._sought = sought
            ranges = [(self.shown[i].start, self.shown[i].stop) for i in sought]
            self._check = self._resources.enter_context(SeekCheck(self._videos(), self.job.fps, ranges))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def uses_seek(self, number: int) -> bool:
        """Return True if a segment is found by seeking."""
        return number in self._sought

    def is_exact(self, number: int, while_waiting: Callable[[], None]) -> bool:
        """Return True if a segment that was found by seeking has the right frames; wait until this is known."""
        return self._check.is_exact(self._sought.index(number), while_waiting)

    def _videos(self) -> list[VideoInfo]:
        masks = self.job.masks
        return [self.job.video, *([masks.info] if isinstance(masks, MaskVideo) else [])]
