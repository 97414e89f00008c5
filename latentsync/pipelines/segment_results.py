"""Results of the segments that workers process; a segment whose worker has died is processed again."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from latentsync.errors import DeviceMemoryError, LatentSyncError
from latentsync.executors.base import CRASHED, MEMORY, Executor, Failed, ResultT, WhileWaiting, Work
from latentsync.pipelines.segment_progress import SegmentProgress
from latentsync.pipelines.segments import Segment

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A segment fails after its worker died this often."""


class HasSegment(Protocol):
    """Interface of a task for one segment; hashable."""

    @property
    def segment(self) -> Segment:
        """Frames of the segment."""
        ...

    @property
    def progress(self) -> SegmentProgress:
        """Progress of the worker."""
        ...


SegmentT = TypeVar("SegmentT", bound=HasSegment)


def finished_segments(
    executor: Executor,
    work: Work[SegmentT, ResultT],
    tasks: Iterable[SegmentT],
    check: WhileWaiting,
    replaced: Callable[[SegmentT], SegmentT | None] = lambda task: None,
) -> Iterator[tuple[SegmentT, ResultT]]:
    """Yield every task with its result when it finishes; one whose worker has died is run again.

    Args:
        executor: runs the workers.
        work: the work.
        tasks: the segments.
        check: raises the error with which the workers are to be stopped.
        replaced: returns the task to run instead of a finished one whose result cannot be used, else None.

    Raises:
        LatentSyncError: a task has failed.
    """
    waiting, num_attempts = _Waiting(tasks), Counter[SegmentT]()
    for finished in executor.run(work, waiting, check):
        task, result = finished.task, finished.result
        num_attempts[task] += 1
        if (instead := replaced(task)) is not None:
            waiting.tasks.append(instead)
        elif not isinstance(result, Failed):
            task.progress.write(len(task.segment))
            yield task, result
        elif result.reason == CRASHED and num_attempts[task] < MAX_ATTEMPTS:
            logger.warning("frames %d to %d run again: %s", task.segment.start, task.segment.stop, result.detail)
            waiting.tasks.append(task)
        else:
            raise (DeviceMemoryError if result.reason == MEMORY else LatentSyncError)(result.detail)


class _Waiting(Iterator[SegmentT]):
    """Iterator over tasks, to which more may be added while others run."""

    def __init__(self, tasks: Iterable[SegmentT]) -> None:
        self.tasks = deque(tasks)

    def __next__(self) -> SegmentT:
        if not self.tasks:
            raise StopIteration
        return self.tasks.popleft()
