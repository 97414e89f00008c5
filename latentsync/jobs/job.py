"""A job of the queue: its state for who waits, and its progress and cancellation for the work."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

Work = Callable[["Job"], Any]

PAGE = "page"
"""Kind of the jobs that a page follows; they end with their process."""


class JobState(Enum):
    """State of a job; one that is receiving its files is not in the queue yet."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """True after the job has ended."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class JobStopped(Exception):
    """The job was cancelled, no page polls it any more, or the program is being stopped."""


@dataclass(frozen=True)
class StageProgress:
    """Progress of the current stage.

    Attributes:
        stage: name of the stage.
        done, total: units of work.
        started, reported: times of its start and of this report, in seconds of the clock of the job.
    """

    stage: str
    done: float
    total: float
    started: float
    reported: float

    def seconds_left(self, now: float) -> float | None:
        """Return the estimated remaining seconds of the stage, or None before the first progress."""
        if self.done <= 0 or self.total <= 0:
            return None
        rest = (self.reported - self.started) * (self.total - self.done) / self.done
        return max(0.0, rest - (now - self.reported))


@dataclass(frozen=True)
class JobView:
    """Snapshot of a job for who waits.

    Attributes:
        state: state of the job.
        ahead: number of jobs before it, including the running one.
        progress: progress of the current stage; None before the first stage.
        seconds_left: estimated remaining time of the current stage; None if unknown.
        seconds_running: seconds since the work started.
        error: one line if the job failed.
    """

    state: JobState
    ahead: int = 0
    progress: StageProgress | None = None
    seconds_left: float | None = None
    seconds_running: float = 0.0
    error: str = ""


@dataclass(eq=False)
class Job:
    """A job of the queue and its folder.

    Attributes:
        id: unguessable; any visitor who knows it can follow and cancel the job.
        folder: files of the job; removed unless the work succeeds.
        work: called with the job in the worker thread; returns `result`. None until `prepare` has returned it.
        prepare: copies and checks the uploads in a checker thread and returns the work. None if nothing is to be
            checked.
        names: names to show for files in messages, by path.
        grace_seconds: the job stops if no page has polled it for this time.
        clock: monotonic clock in seconds.
        kind: what is to be done.
        request: what was asked for, as JSON.
        live: what the work shows while it runs, besides its progress.
        stage_seconds: time of each stage so far, by name.
    """

    id: str
    folder: Path
    work: "Work | None"
    prepare: "Callable[[Job], Work] | None" = None
    names: Mapping[Path, str] = field(default_factory=dict)
    grace_seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    kind: str = PAGE
    request: Mapping[str, Any] = field(default_factory=dict)
    state: JobState = JobState.QUEUED
    result: Any = None
    error: str = ""
    ended: float | None = None
    live: Any = None
    stage_seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cancelled, self._interrupted, self._finishing = (threading.Event() for _ in range(3))
        self._progress: StageProgress | None = None
        self._started: float | None = None
        self._last_seen = self._reported = self.clock()

    def begin(self) -> None:
        """Set the state to running."""
        self._started = self._reported = self.clock()
        self.state = JobState.RUNNING

    def end(self, state: JobState, result: Any = None, error: str = "") -> None:
        """Set the final state."""
        self.result, self.error, self.ended = result, error, self.clock()
        self.state = state

    def restore(self, state: JobState, result: Any, seconds_running: float) -> None:
        """Set the final state of a job that ended in an earlier process."""
        self._started = 0.0
        self.result, self.ended, self.state = result, seconds_running, state

    def cancel(self) -> None:
        """Request the work to stop; it stops at its next progress report."""
        self._cancelled.set()

    def interrupt(self) -> None:
        """Request the work to stop, because the program is being stopped; a later process may do it again."""
        self._interrupted.set()

    @property
    def is_interrupted(self) -> bool:
        """True after `interrupt`, unless the job was cancelled."""
        return self._interrupted.is_set() and not self._cancelled.is_set()

    def wait_for_interrupt(self, seconds: float) -> None:
        """Wait until `interrupt` is called, at most this long."""
        self._interrupted.wait(seconds)

    def finish(self) -> None:
        """Request the work to end early with a result, if it can."""
        self._finishing.set()

    @property
    def must_finish(self) -> bool:
        """True if the work must end early with a result."""
        return self._finishing.is_set()

    def seen(self) -> None:
        """Record that a page has polled the job."""
        self._last_seen = self.clock()

    @property
    def is_wanted(self) -> bool:
        """True unless the job was cancelled or interrupted, or has not been polled for `grace_seconds`."""
        is_stopped = self._cancelled.is_set() or self._interrupted.is_set()
        return not is_stopped and self.clock() - self._last_seen <= self.grace_seconds

    def report(self, stage: str, done: float, total: float) -> None:
        """Report progress of the work; a `latentsync.pipelines.lipsync_job.Progress`.

        Raises:
            JobStopped: the work must stop.
        """
        if not self.is_wanted:
            raise JobStopped
        now, last = self.clock(), self._progress
        self.stage_seconds[stage] = self.stage_seconds.get(stage, 0.0) + now - self._reported
        self._reported = now
        if last is None or last.stage != stage:
            previous_end = last.reported if last is not None else self._started
            self._progress = StageProgress(stage, done, total, now if previous_end is None else previous_end, now)
        elif done > last.done:  # denoising and encoding report the same stage, and denoising is ahead
            self._progress = StageProgress(stage, done, total, last.started, now)

    def view(self, ahead: int = 0) -> JobView:
        """Return the current view."""
        now, progress = self.clock(), self._progress
        return JobView(
            state=self.state,
            ahead=ahead,
            progress=progress,
            seconds_left=None if progress is None else progress.seconds_left(now),
            seconds_running=0.0 if self._started is None else (self.ended or now) - self._started,
            error=self.error,
        )
