"""One piece of work on its way through the queue, as the page sees it and as the work sees it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

Work = Callable[["Job"], Any]


class JobState(Enum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class JobStopped(Exception):
    """The job was cancelled, or nobody waits for it any more: its work ends here."""


@dataclass(frozen=True)
class StageProgress:
    """How far the present stage is.

    Attributes:
        stage: its name.
        done, total: units of work.
        started, reported: when it began and when this was said, in seconds of the job's clock.
    """

    stage: str
    done: float
    total: float
    started: float
    reported: float

    def seconds_left(self, now: float) -> float | None:
        """Time the rest of the stage takes at the pace so far; None while there is no pace yet."""
        if self.done <= 0 or self.total <= 0:
            return None
        rest = (self.reported - self.started) * (self.total - self.done) / self.done
        return max(0.0, rest - (now - self.reported))


@dataclass(frozen=True)
class JobView:
    """What there is to show of a job.

    Attributes:
        state: where it is.
        ahead: jobs before it in the queue, the running one included.
        progress: of the present stage; None before the first.
        seconds_left: of the present stage; None where unknown.
        seconds_running: since the work began.
        error: one line, where it failed.
    """

    state: JobState
    ahead: int = 0
    progress: StageProgress | None = None
    seconds_left: float | None = None
    seconds_running: float = 0.0
    error: str = ""


@dataclass(eq=False)
class Job:
    """A piece of work and its folder.

    Attributes:
        id: nobody can guess it; who knows it may watch and cancel the job.
        folder: its files; removed unless the work succeeds.
        work: called in the worker's thread with the job; what it returns is `result`. None until `prepare` gave it.
        prepare: takes in and checks what was uploaded, in a thread for that, and returns the work. None where there is
            nothing to check.
        names: what to call files in messages, by path.
        grace_seconds: the job stops when nobody has watched it for so long.
        clock: seconds, ever rising.
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

    def __post_init__(self) -> None:
        self._cancelled = threading.Event()
        self._progress: StageProgress | None = None
        self._started: float | None = None
        self._last_seen = self.clock()

    def begin(self) -> None:
        """The work starts."""
        self._started = self.clock()
        self.state = JobState.RUNNING

    def end(self, state: JobState, result: Any = None, error: str = "") -> None:
        """The work is over, one way or the other."""
        self.result, self.error, self.ended = result, error, self.clock()
        self.state = state

    def cancel(self) -> None:
        """Asks the work to stop; it does at its next report of progress."""
        self._cancelled.set()

    def seen(self) -> None:
        """Notes that somebody still waits for the result."""
        self._last_seen = self.clock()

    @property
    def is_wanted(self) -> bool:
        """Whether the job is neither cancelled nor left alone for too long."""
        return not self._cancelled.is_set() and self.clock() - self._last_seen <= self.grace_seconds

    def report(self, stage: str, done: float, total: float) -> None:
        """The work tells how far it is, as `latentsync.pipelines.lipsync_job.Progress`.

        Raises:
            JobStopped: the work shall end.
        """
        if not self.is_wanted:
            raise JobStopped
        now, last = self.clock(), self._progress
        if last is None or last.stage != stage:
            began = last.reported if last is not None else self._started
            self._progress = StageProgress(stage, done, total, now if began is None else began, now)
        elif done > last.done:  # the painter and the encoder report the same stage, the first ahead of the second
            self._progress = StageProgress(stage, done, total, last.started, now)

    def view(self, ahead: int = 0) -> JobView:
        """What to show now."""
        now, progress = self.clock(), self._progress
        return JobView(
            state=self.state,
            ahead=ahead,
            progress=progress,
            seconds_left=None if progress is None else progress.seconds_left(now),
            seconds_running=0.0 if self._started is None else (self.ended or now) - self._started,
            error=self.error,
        )
