"""The queue: one job runs at a time, a limited number waits, the rest is turned away.

Whatever looks into an upload is a part of the queue too: a job that waits is first checked, few at a time, and counts
as a waiting one meanwhile.
"""

import logging
import threading
import time
from collections import OrderedDict, deque

from latentsync.app.error_line import error_line
from latentsync.app.job import Job, JobState, JobStopped, JobView
from latentsync.app.job_folders import JobFolders
from latentsync.errors import InputError

logger = logging.getLogger(__name__)

_KEPT_JOBS = 200
"""Jobs that are over and may still be asked for."""

NUM_CHECKS = 2
"""Jobs whose files are looked at at the same time."""

_PATIENCE_WITH_CHECKS_S = 5.0
"""A check cannot be interrupted; the end of the program does not wait for the tools that it called."""


class QueueFullError(InputError):
    """No more jobs may wait."""


class JobQueue:
    """Threads that check waiting jobs, and one that runs jobs one after the other; a context manager.

    Args:
        folders: where the jobs' files are.
        max_waiting: jobs that may wait, those that are checked included, while one runs.
    """

    def __init__(self, folders: JobFolders, max_waiting: int = 8) -> None:
        self.max_waiting = max_waiting
        self._folders = folders
        self._waiting: deque[Job] = deque()
        self._checking: set[Job] = set()
        self._running: Job | None = None
        self._over: OrderedDict[str, Job] = OrderedDict()
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run_jobs, name="latentsync-jobs", daemon=True)
        self._checkers = [
            threading.Thread(target=self._check_jobs, name=f"latentsync-checks-{i}", daemon=True)
            for i in range(NUM_CHECKS)
        ]

    def __enter__(self) -> "JobQueue":
        for thread in (self._thread, *self._checkers):
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops what runs, drops what waits, and waits for the threads."""
        with self._changed:
            self._is_closed = True
            for job in self._active():
                job.cancel()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        until = time.monotonic() + _PATIENCE_WITH_CHECKS_S
        for thread in self._checkers:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def submit(self, job: Job) -> None:
        """Puts a job at the end of the queue.

        Raises:
            QueueFullError: too many wait already; the job's folder is removed.
        """
        with self._changed:
            for stale in [waiting for waiting in self._waiting if not waiting.is_wanted]:
                self._drop(stale)
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
            self._drop(job)
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

    def _drop(self, job: Job) -> None:
        """Ends a job that waits; one whose files are just looked at ends after that."""
        if job in self._waiting and job not in self._checking:
            self._waiting.remove(job)
            self._end(job, JobState.CANCELLED)

    def _check_jobs(self) -> None:
        while (job := self._next_to_check()) is not None:
            self._check(job)

    def _next_to_check(self) -> Job | None:
        with self._changed:
            while not self._is_closed:
                for job in self._waiting:
                    if job.work is None and job not in self._checking:
                        self._checking.add(job)
                        return job
                self._changed.wait()
            return None

    def _check(self, job: Job) -> None:
        work, state, line = None, JobState.CANCELLED, ""
        try:
            if job.is_wanted and job.prepare is not None:
                work = job.prepare(job)
        except Exception as error:  # whatever an upload does to the tools, the next one is checked
            if job.is_wanted:
                state, line = JobState.FAILED, error_line(error, job.names)
        with self._changed:
            self._checking.discard(job)
            job.work = work
            if work is None or not job.is_wanted:
                self._waiting.remove(job)
                self._end(job, state, line=line)
            self._changed.notify_all()

    def _run_jobs(self) -> None:
        while (job := self._next()) is not None:
            self._run(job)

    def _next(self) -> Job | None:
        with self._changed:
            while True:
                # A job whose check takes long lets the ones behind it pass.
                ready = [job for job in self._waiting if job.work is not None or self._is_closed]
                job = next((job for job in ready if job not in self._checking), None)
                if job is not None:
                    self._waiting.remove(job)
                    self._running = job
                    return job
                if self._is_closed:
                    return None
                self._changed.wait()

    def _run(self, job: Job) -> None:
        state, result, line = JobState.CANCELLED, None, ""
        if job.is_wanted and job.work is not None:
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
