"""Runs steps in worker processes on this machine, each with limits of time and memory for a clip.

Workers are forked from a clean server process that has imported torch and touched no accelerator, so replacing one is
quick. Each has its own pipe (no lock that a dying worker could keep) and its own process group, which is killed as a
whole. The standard library's pool has no time limit a task that kills a worker and its ffmpeg, gives the successor no
accelerator, and holds nobody to an amount of memory.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, cast

import psutil

from latentsync.device import count_accelerators
from latentsync.errors import LatentSyncError
from preprocess.executor import Finished, Job
from preprocess.local_worker import LoadFailed, Ready, WorkerSettings, serve
from preprocess.step import Step
from preprocess.worker import FailureReason, failed

_LOOK_EVERY_S = 0.5
"""How often limits are looked at."""
_LOAD_TIMEOUT_S = 900.0
_LOAD_ATTEMPTS = 3
_BYTES_PER_GB = 1 << 30

Context = ForkServerContext | SpawnContext | ForkContext


@dataclass(frozen=True)
class LocalExecutor:
    """Worker processes on this machine.

    Attributes:
        log_folder: takes what workers print, a file each.
        num_workers: how many; None: one a core, or one an accelerator for steps that use one.
        clip_timeout_s: a clip that takes longer fails.
        memory_limit_gb: a clip whose worker, with the tools it started, holds more memory (GiB) fails; None: no limit.
        start_method: how multiprocessing starts workers.
        num_threads: for the numeric libraries of each worker; None: its share of the cores.
    """

    log_folder: Path
    num_workers: int | None = None
    clip_timeout_s: float = 1800.0
    memory_limit_gb: float | None = None
    start_method: Literal["forkserver", "spawn", "fork"] = "forkserver"
    num_threads: int | None = None

    def run(self, step: Step, jobs: Iterable[Job]) -> Iterator[Finished]:
        """See `Executor`. A worker is started when there is a job for it.

        Raises:
            LatentSyncError: the step cannot be loaded.
        """
        pending = iter(jobs)
        workers = self._workers(step)
        try:
            while True:
                for worker in workers:
                    if worker.is_idle and (job := next(pending, None)) is not None:
                        worker.take(job)
                busy = [worker for worker in workers if not worker.is_idle]
                if not busy:
                    return
                wait([worker.connection for worker in busy], timeout=_LOOK_EVERY_S)
                for worker in busy:
                    finished = worker.look()
                    if finished is not None:
                        yield finished
        finally:
            for worker in workers:
                worker.kill()

    def count_workers(self, step: Step) -> int:
        """How many workers the step gets at most."""
        num_accelerators = count_accelerators() if step.uses_device else 0
        return self.num_workers or num_accelerators or count_cores()

    def _workers(self, step: Step) -> list["_Worker"]:
        context = cast(Context, multiprocessing.get_context(self.start_method))
        if self.start_method == "forkserver":
            context.set_forkserver_preload(["preprocess.local_worker"])
        num_workers = self.count_workers(step)
        num_threads = self.num_threads or max(1, count_cores() // num_workers)
        logs = [self.log_folder / f"{step.number}_{step.name}_{index}.txt" for index in range(num_workers)]
        settings = [WorkerSettings(step, index, num_threads, log) for index, log in enumerate(logs)]
        return [_Worker(each, context, self.clip_timeout_s, self.memory_limit_gb) for each in settings]


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """A place for a worker process; the process is replaced when it dies or goes over a limit."""

    connection: Connection

    def __init__(
        self, settings: WorkerSettings, context: Context, clip_timeout_s: float, memory_limit_gb: float | None
    ) -> None:
        self._settings = settings
        self._context = context
        self._clip_timeout_s = clip_timeout_s
        self._memory_limit_gb = memory_limit_gb
        self._process: BaseProcess | None = None
        self._job: Job | None = None
        self._ready: Ready | None = None
        self._num_load_attempts = 0
        self._since = self._looked = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it can take a job."""
        return self._job is None

    def take(self, job: Job) -> None:
        """Begins a job; its process is started where there is none."""
        self._job = job
        if self._process is not None and self._process.is_alive():
            self._send()
        else:
            self._start()

    def look(self) -> Finished | None:
        """The end of the job, where it came to one: its result, or the death or excess of its process."""
        try:
            message = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            return self._mourn()
        if isinstance(message, Ready):
            self._ready = message
            self._num_load_attempts = 0
            self._send()
        elif isinstance(message, LoadFailed):
            raise LatentSyncError(f"step {self._name} cannot start: {message.message}")
        elif isinstance(message, Finished):
            return self._accept(message)
        return self._over_limit()

    def kill(self) -> None:
        """Ends the process and all that it started."""
        if self._process is None or self._process.pid is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._process = self._ready = None

    @property
    def _name(self) -> str:
        return f"{self._settings.step.number} ({self._settings.step.name})"

    def _start(self) -> None:
        self.kill()
        self.connection, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, self._settings), daemon=True)
        process.start()
        theirs.close()
        self._process = process
        self._num_load_attempts += 1
        self._since = time.monotonic()

    def _send(self) -> None:
        self._since = self._looked = time.monotonic()
        with suppress(BrokenPipeError):  # it died: the next look finds out
            self.connection.send(self._job)

    def _accept(self, finished: Finished) -> Finished:
        self._job = None
        if finished.verdict is None and self._ready is not None and self._ready.replaced_after_error:
            self.kill()
        return finished

    def _mourn(self) -> Finished | None:
        process, is_ready = self._process, self._ready is not None
        assert process is not None
        process.join()
        end = _describe_end(process.exitcode)
        if is_ready:
            return self._fail("crashed", f"its worker {end}")
        if self._num_load_attempts >= _LOAD_ATTEMPTS:
            raise LatentSyncError(f"step {self._name} cannot start: a worker {end}; see {self._settings.log}")
        self._start()
        return None

    def _over_limit(self) -> Finished | None:
        now = time.monotonic()
        if self._ready is None:
            if now - self._since > _LOAD_TIMEOUT_S:
                raise LatentSyncError(f"step {self._name} did not load in {_LOAD_TIMEOUT_S:g} s")
            return None
        if now - self._since > self._clip_timeout_s:
            return self._fail("timeout", f"not finished after {self._clip_timeout_s:g} s (--clip_timeout_s)")
        if self._memory_limit_gb is None or now - self._looked < _LOOK_EVERY_S:
            return None
        self._looked = now
        held = self._memory_bytes() / _BYTES_PER_GB
        if held > self._memory_limit_gb:
            return self._fail("memory", f"{held:.1f} GiB held, of {self._memory_limit_gb:g} (--memory_limit_gb)")
        return None

    def _memory_bytes(self) -> int:
        """Resident memory of the process and of all that it started."""
        assert self._process is not None
        try:
            worker = psutil.Process(self._process.pid)
            family = [worker, *worker.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        total = 0
        for process in family:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def _fail(self, reason: FailureReason, detail: str) -> Finished:
        assert self._job is not None
        job, self._job = self._job, None
        seconds = time.monotonic() - self._since
        self.kill()
        return failed(job, reason, detail, seconds)


def _describe_end(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit status {exit_code}"
