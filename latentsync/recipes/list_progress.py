"""Lines that report the progress of a list."""

import time
from collections.abc import Callable
from datetime import timedelta

from latentsync.pipelines.video_maker import Outcome

_SECONDS_PER_HOUR = 3600


class ListProgress:
    """Counts finished jobs, and estimates the speed and the time left.

    Args:
        num_jobs: number of jobs of the list.
        clock: returns the time in seconds.
    """

    def __init__(self, num_jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._num_jobs = num_jobs
        self._clock = clock
        self._started_at = clock()
        self._num_finished = self._num_made = 0

    def line(self, outcome: Outcome) -> str:
        """Count a job and return a line with its outcome, jobs per hour and the time left.

        Only generated videos are counted in the speed: other jobs may take no time.
        """
        self._num_finished += 1
        self._num_made += outcome.error is None and not outcome.was_there
        said = outcome.error or "done"
        return f"{self._num_finished} of {self._num_jobs}: {outcome.job.result}: {said}{self._estimate()}"

    def _estimate(self) -> str:
        elapsed_s = self._clock() - self._started_at
        if self._num_made == 0 or elapsed_s <= 0:
            return ""
        seconds_per_job = elapsed_s / self._num_made
        left = timedelta(seconds=round(seconds_per_job * (self._num_jobs - self._num_finished)))
        return f" ({_SECONDS_PER_HOUR / seconds_per_job:.1f} jobs per hour, {left} left)"
