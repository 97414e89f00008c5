"""The queue: one job runs at a time, a limited number waits, the rest is turned away."""

import logging
import threading
from collections import OrderedDict, deque

from latentsync.app.error_line import error_line
from latentsync.app.job import Job, JobState, JobStopped, JobView
from latentsync.app.job_folders import JobFolders
from latentsync.errors import InputError

logger = logging.getLogger(__name__)

_KEPT_JOBS = 200
"""Jobs that are over and may still be asked for."""


class QueueFullError(InputError):
    """No more jobs may wait."""


class JobQueue:
    """A thread that runs jobs one after the other; a context manager.

    Args:
        folders: where the jobs' files are.
        max_waiting: jobs that may wait while one runs.
    """

    def __init__(self, folders: JobFolders, max_waiting: int = 8) -> None:
        self.max_waiting = max_waiting
        self._folders = folders
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._over: OrderedDict[str, Job] = OrderedDict()
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="latentsync-jobs", daemon=True)

    def __enter__(self) -> "JobQueue":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops what runs, drops what waits, and waits for the thread."""
        with self._changed:
            self._is_closed = True
            for job in self._active():
                job.cancel()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, job: Job) -> None:
        """Puts a job at the end of the queue.

        Raises:
            QueueFullError: too many wait already; the job's folder is removed.
        """
        with self._changed:
            for stale in [waiting for waiting in self._waiting if not waiting.is_wanted]:
                self._waiting.remove(stale)
                self._end(stale, JobState.CANCELLED)
            is_full = len(self._active()) > self.max_waiting
            if not is_full and not self._is_closed:
                self._waiting.append(job)
                self._changed.notify_all()
                return
        self._folders.remove(job.folder)
        raise QueueFullError(
            "the program is being stopped: try again later"
            if self._is_closed
            else f"one job runs and {self.max_waiting} wait already: try again later"
        )

    def find(self, job_id: str) -> Job | None:
        """The job of that id, if it is still known."""
        with self._changed:
            for job in self._active():
                if job.id == job_id:
                    return job
            return self._over.get(job_id)

    def cancel(self, job_id: str) -> bool:
        """Stops a job; whether there was one to stop."""
        job = self.find(job_id)
        if job is None or job.state.is_over:
            return False
        job.cancel()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, JobState.CANCELLED)
        return True

    def view(self, job: Job) -> JobView:
        """What there is to show of a job; whoever asks still waits for it."""
        job.seen()
        with self._changed:
            active = self._active()
            return job.view(active.index(job) if job in active else 0)

    def active(self) -> list[Job]:
        """The job that runs and those that wait, in order."""
        with self._changed:
            return self._active()

    def _active(self) -> list[Job]:
        return [*([] if self._running is None else [self._running]), *self._waiting]

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._run(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            if not self._waiting:
                return None
            self._running = self._waiting.popleft()
            return self._running

    def _run(self, job: Job) -> None:
        state, result, line = JobState.CANCELLED, None, ""
        if job.is_wanted:
            job.begin()
            try:
                result = job.work(job)
                state = JobState.DONE
            except JobStopped:
                logger.info("job stopped: cancelled, or nobody waited for it")
            except Exception as error:  # whatever a job dies of, the next one runs
                state, line = JobState.FAILED, error_line(error, job.names)
        with self._changed:
            self._running = None
            self._end(job, state, result, line)

    def _end(self, job: Job, state: JobState, result: object = None, line: str = "") -> None:
        if state is JobState.DONE:
            self._folders.release(job.folder)
        else:
            self._folders.remove(job.folder)
        job.end(state, result, line)
        self._over[job.id] = job
        while len(self._over) > _KEPT_JOBS:
            self._over.popitem(last=False)
