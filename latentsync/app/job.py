"""A job of the queue: its state for the page, and its progress and cancellation for the work."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

Work = Callable[["Job"], Any]


class JobState(Enum):
    """State of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """True after the job has ended."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class JobStopped(Exception):
    """The job was cancelled, or no page polls it any more."""


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
    """Snapshot of a job for the page.

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
        live: what the work shows while it runs, besides its progress.
    """

    id: str
    folder: Path
    work: "Work | None"
    prepare: "Callable[[Job], Work] | None" = None
    names: Mapping[Path, str] = field(default_factory=dict)
    grace_seconds: float = 30.0
    clock: Callable[[], float] = time.monotonic
    state: JobState = JobState.WAITING
    result: Any = None
    error: str = ""
    ended: float | None = None
    live: Any = None

    def __post_init__(self) -> None:
        self._cancelled, self._finishing = threading.Event(), threading.Event()
        self._progress: StageProgress | None = None
        self._started: float | None = None
        self._last_seen = self.clock()

    def begin(self) -> None:
        """Set the state to running."""
        self._started = self.clock()
        self.state = JobState.RUNNING

    def end(self, state: JobState, result: Any = None, error: str = "") -> None:
        """Set the final state."""
        self.result, self.error, self.ended = result, error, self.clock()
        self.state = state

    def cancel(self) -> None:
        """Request the work to stop; it stops at its next progress report."""
        self._cancelled.set()

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
        """True unless the job was cancelled or has not been polled for `grace_seconds`."""
        return not self._cancelled.is_set() and self.clock() - self._last_seen <= self.grace_seconds

    def report(self, stage: str, done: float, total: float) -> None:
        """Report progress of the work; a `latentsync.pipelines.lipsync_job.Progress`.

        Raises:
            JobStopped: the work must stop.
        """
        if not self.is_wanted:
            raise JobStopped
        now, last = self.clock(), self._progress
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
