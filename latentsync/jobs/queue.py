"""The job queue: one job runs at a time, a limited number waits, further ones are rejected.

Uploads are inspected in the queue too: a few waiting jobs are checked at a time.

Every job is recorded on disk (`store`). A job of a kind that has a handler survives the process: after a restart it
waits again at its place, also if it was running, and no page has to poll it. A job of another kind, whose work is a
function of the process, is cancelled when the process ends.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from latentsync.errors import InputError, ToolError
from latentsync.jobs.folders import JobFolders
from latentsync.jobs.job import Job, JobState, JobStopped, JobView, Work
from latentsync.jobs.store import JobRecord, JobStoreError
from latentsync.jobs.visible_text import error_line

logger = logging.getLogger(__name__)

_KEPT_JOBS = 200
"""Finished jobs that can still be looked up; more if they have files and are not recorded."""

NUM_CHECKS = 2
"""Number of jobs whose files are checked concurrently."""

_SIGNAL_S = 0.5
"""Time in which a signal to all processes of the program reaches this one, after it has ended an external tool."""

_CHECKS_JOIN_TIMEOUT_S = 5.0
"""Time to wait for running checks at the end; they call external tools and cannot be interrupted."""


MAX_STARTS = 3
"""A job during which the process was killed this often fails, so that one that kills it cannot block the queue."""

KILLED = f"the program was killed {MAX_STARTS} times during this job: its log may tell why"


class QueueFullError(InputError):
    """The queue is full."""


class JobQueue:
    """Threads that check waiting jobs, and one thread that runs them in order; a context manager.

    Args:
        folders: folders of the jobs.
        max_waiting: maximum number of waiting jobs, including those being checked, while one runs.
        handlers: work of the kinds of jobs that survive the process. What it returns is recorded as JSON: a mapping, or
            what the method `record` of the result returns.
        on_end: called with every job that has ended, in the thread that ended it.
    """

    def __init__(
        self,
        folders: JobFolders,
        max_waiting: int = 8,
        handlers: Mapping[str, Work] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> None:
        self.max_waiting = max_waiting
        self._folders = folders
        self._handlers = dict(handlers or {})
        self._on_end = on_end
        self._waiting: deque[Job] = deque()
        self._checking: set[Job] = set()
        self._running: Job | None = None
        self._over: dict[str, Job] = {}
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run_jobs, name="latentsync-jobs", daemon=True)
        self._checkers = [
            threading.Thread(target=self._check_jobs, name=f"latentsync-checks-{i}", daemon=True)
            for i in range(NUM_CHECKS)
        ]

    def __enter__(self) -> "JobQueue":
        for record in self._folders.store.unfinished():
            self._recover(record)
        for thread in (self._thread, *self._checkers):
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def interrupt(self) -> None:
        """Request every job to stop and accept no further ones, because the program is being stopped."""
        with self._changed:
            self._is_closed = True
            for job in self._active():
                job.interrupt()
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the running job, drop the waiting ones from memory, and join the threads."""
        self.interrupt()
        if self._thread.is_alive():
            self._thread.join()
        until = time.monotonic() + _CHECKS_JOIN_TIMEOUT_S
        for thread in self._checkers:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def submit(self, job: Job) -> None:
        """Append a job to the queue.

        Raises:
            QueueFullError: too many jobs are waiting; the folder of the job is removed.
            JobStoreError: the job cannot be recorded; likewise.
        """
        with self._changed:
            for stale in [waiting for waiting in self._waiting if not waiting.is_wanted]:
                self._drop(stale)
            is_full = len(self._active()) > self.max_waiting
            if not is_full and not self._is_closed:
                self._enqueue(job)
                return
        self._folders.discard(job.folder)
        raise QueueFullError(
            "the program is being stopped: try again later"
            if self._is_closed
            else f"one job is running and {self.max_waiting} are waiting: try again later"
        )

    def job_of(self, record: JobRecord, request: Mapping[str, Any] | None = None) -> Job:
        """Return the job of a record, whose kind has a handler.

        Args:
            record: the job on disk.
            request: what is asked for; None: as recorded. Its ``names`` are those of files of the folder in messages.
        """
        request, folder = record.request if request is None else request, self._folders.of(record.id)
        names = {folder / file: name for file, name in request.get("names", {}).items()}
        return Job(
            record.id,
            folder,
            self._handlers[record.kind],
            names={**names, folder: "the job's folder"},
            grace_seconds=math.inf,
            kind=record.kind,
            request=request,
        )

    def find(self, job_id: str) -> Job | None:
        """Return the job with this id, or None if it is unknown."""
        with self._changed:
            for job in self._active():
                if job.id == job_id:
                    return job
            return self._over.get(job_id)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return False if it is unknown or has ended."""
        job = self.find(job_id)
        if job is None or job.state.is_over:
            return False
        job.cancel()
        with self._changed:
            self._drop(job)
        return True

    def finish(self, job_id: str) -> bool:
        """Request a running job to end early with a result; return False if it is unknown or does not run."""
        job = self.find(job_id)
        if job is None or job.state is not JobState.RUNNING:
            return False
        job.finish()
        return True

    def view(self, job: Job) -> JobView:
        """Return the view of a job, and record that it was polled."""
        job.seen()
        with self._changed:
            active = self._active()
            return job.view(active.index(job) if job in active else 0)

    def active(self) -> list[Job]:
        """Return the running job and the waiting ones, in order."""
        with self._changed:
            return self._active()

    @property
    def is_alive(self) -> bool:
        """True while jobs are run."""
        return self._thread.is_alive() and not self._is_closed

    def _enqueue(self, job: Job) -> None:
        try:
            self._folders.store.enqueue(job.id, job.request)
        except JobStoreError:
            self._folders.discard(job.folder)
            raise
        self._waiting.append(job)
        self._changed.notify_all()

    def _recover(self, record: JobRecord) -> None:
        """Let a job of an earlier process wait again, or end it."""
        store = self._folders.store
        if record.kind not in self._handlers:
            store.end(record.id, JobState.CANCELLED)
            self._folders.remove(self._folders.of(record.id))
        elif record.num_starts < MAX_STARTS:
            store.recover(record.id)
            self._waiting.append(self.job_of(record))
        else:
            self._end(self.job_of(record), JobState.FAILED, line=KILLED)

    def _active(self) -> list[Job]:
        return [*([] if self._running is None else [self._running]), *self._waiting]

    def _drop(self, job: Job) -> None:
        """End a waiting job; if it is being checked, it ends after the check."""
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
        except Exception as error:  # an error in one check must not stop the thread
            state, line = _end_after(error, job)
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
                # Checked jobs overtake one whose check takes long.
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
                self._folders.store.start(job.id)
                result = job.work(job)
                state = JobState.DONE
            except JobStopped:
                logger.info("job stopped: cancelled, no page polled it, or the program is being stopped")
            except Exception as error:  # an error in one job must not stop the thread
                state, line = _end_after(error, job)
        with self._changed:
            self._running = None
            self._end(job, state, result, line)

    def _end(self, job: Job, state: JobState, result: object = None, line: str = "") -> None:
        if state is JobState.CANCELLED and job.kind in self._handlers and job.is_interrupted:
            self._record(self._folders.store.interrupt, job.id)  # a later process does it
            return
        recorded = _as_record(result) if job.kind in self._handlers else None
        self._record(self._folders.store.end, job.id, state, recorded, line)
        if state is not JobState.DONE:
            self._folders.remove(job.folder)
        job.end(state, result, line)
        self._over[job.id] = job
        self._forget_oldest()
        if self._on_end is not None:
            self._on_end(job)

    def _forget_oldest(self) -> None:
        """Keep the newest ended jobs, and of the others those that have files and are not recorded."""
        for job in list(self._over.values())[:-_KEPT_JOBS]:
            if job.kind in self._handlers or not job.folder.exists():
                del self._over[job.id]

    def _record(self, change: Callable[..., bool], job_id: str, *values: object) -> None:
        """Record a change; if the disk is full, the queue goes on, and a restarted process does the job again."""
        try:
            change(job_id, *values)
        except JobStoreError as error:
            logger.error("the end of job %s was not recorded: %s", job_id, error)


def _end_after(error: Exception, job: Job) -> tuple[JobState, str]:
    """Return state and message of a job after an error, which is not a failure of a job that has to stop.

    A signal to all processes of a service may end ffmpeg before this process handles it.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ToolError):
        cause = cause.__cause__
    if cause is not None:
        job.wait_for_interrupt(_SIGNAL_S)
    if not job.is_wanted:
        return JobState.CANCELLED, ""
    return JobState.FAILED, error_line(error, job.names)


def _as_record(result: Any) -> Mapping[str, Any] | None:
    return result if result is None or isinstance(result, Mapping) else result.record()
