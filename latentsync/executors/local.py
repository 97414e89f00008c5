"""Run tasks in worker processes on this machine, with limits of time and memory per task.

Workers are forked from a server process that has imported torch and the module of the work but used no accelerator, so
a replacement starts quickly. Every worker has its own pipe, because a dying worker could keep the lock of a shared
queue, and its own process group, which is killed as a whole. The standard library's pools are no substitute: they have
no time limit per task that also ends the worker's ffmpeg processes, assign no accelerators, and do not limit memory.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, cast

import psutil

from latentsync.device import count_accelerators
from latentsync.errors import LatentSyncError
from latentsync.executors.base import (
    CRASHED,
    MEMORY,
    TIMEOUT,
    Failed,
    FinishedTask,
    Limits,
    ResultT,
    TaskT,
    WhileWaiting,
    Work,
    count_cores,
    do_nothing,
)
from latentsync.executors.local_worker import LoadFailed, Ready, WorkerSettings, serve

_POLL_INTERVAL_S = 0.5
"""Longest time between two checks of the limits."""
_LOAD_TIMEOUT_S = 900.0
_MAX_LOAD_ATTEMPTS = 3
_BYTES_PER_GIB = 1 << 30

Context = ForkServerContext | SpawnContext | ForkContext


@dataclass(frozen=True)
class LocalExecutor:
    """Executor with worker processes on this machine.

    Attributes:
        log_folder: receives one file per worker with everything the worker prints; None: workers print where this
            process does.
        num_workers: maximum number of workers. None: one per accelerator for work that uses one, else one per core,
            or a single one (`Work.one_per_machine`).
        limits: limits of one task.
        start_method: start method of multiprocessing.
        num_threads: threads of each worker's numeric libraries; None: its share of the cores.
    """

    log_folder: Path | None = None
    num_workers: int | None = None
    limits: Limits = field(default_factory=Limits)
    start_method: Literal["forkserver", "spawn", "fork"] = "forkserver" if os.name == "posix" else "spawn"
    num_threads: int | None = None

    def run(
        self, work: Work[TaskT, ResultT], tasks: Iterable[TaskT], while_waiting: WhileWaiting = do_nothing
    ) -> Iterator[FinishedTask[TaskT, ResultT]]:
        """Yield every task when it finishes; see `Executor`. A worker is started with its first task.

        Raises:
            LatentSyncError: the work cannot be loaded.
        """
        pending = iter(tasks)
        workers = self._create_workers(work)
        try:
            while True:
                for worker in workers:
                    if worker.is_idle and (task := next(pending, None)) is not None:
                        worker.assign(task)
                busy = [worker for worker in workers if not worker.is_idle]
                if not busy:
                    return
                wait([worker.connection for worker in busy], timeout=_POLL_INTERVAL_S)
                while_waiting()
                for worker in busy:
                    finished = worker.poll()
                    if finished is not None:
                        yield finished
        finally:
            for worker in workers:
                worker.kill()

    def count_workers(self, work: Work[Any, Any]) -> int:
        """Return the maximum number of workers for some work."""
        num_accelerators = count_accelerators() if work.uses_device else 0
        return self.num_workers or num_accelerators or (1 if work.one_per_machine else count_cores())

    def _create_workers(self, work: Work[Any, Any]) -> list["_Worker"]:
        context = cast(Context, multiprocessing.get_context(self.start_method))
        if self.start_method == "forkserver":
            context.set_forkserver_preload([serve.__module__, type(work).__module__])
        num_workers = self.count_workers(work)
        num_threads = self.num_threads or max(1, count_cores() // num_workers)
        logs = [self.log_folder and self.log_folder / f"{work.name}_{index}.txt" for index in range(num_workers)]
        settings = [WorkerSettings(work, index, num_threads, log) for index, log in enumerate(logs)]
        return [_Worker(each, context, self.limits) for each in settings]


class _Worker:
    """Slot of one worker process. The process is replaced when it dies or exceeds a limit."""

    connection: Connection

    def __init__(self, settings: WorkerSettings, context: Context, limits: Limits) -> None:
        self._settings = settings
        self._context = context
        self._limits = limits
        self._process: BaseProcess | None = None
        self._task: Any = None
        self._ready: Ready | None = None
        self._num_load_attempts = 0
        self._started_at = self._memory_checked_at = 0.0

    @property
    def is_idle(self) -> bool:
        """True if the worker has no task."""
        return self._task is None

    def assign(self, task: Any) -> None:
        """Give the worker a task; start its process if it is not running."""
        self._task = task
        if self._process is not None and self._process.is_alive():
            self._send()
        else:
            self._start()

    def poll(self) -> FinishedTask[Any, Any] | None:
        """Return the finished task, or None while it is running.

        A task also finishes, as failed, when the process dies or exceeds a limit.
        """
        try:
            message = self.connection.recv() if self.connection.poll() else None
        except (EOFError, OSError):
            return self._handle_death()
        if isinstance(message, Ready):
            self._ready = message
            self._num_load_attempts = 0
            self._send()
        elif isinstance(message, LoadFailed):
            raise LatentSyncError(f"{self._settings.work.title} cannot start: {message.message}")
        elif isinstance(message, FinishedTask):
            return self._accept(message)
        return self._check_limits()

    def kill(self) -> None:
        """Kill the process and all processes that it started."""
        if self._process is None or self._process.pid is None:
            return
        started = [each for each in self._processes() if each.pid != self._process.pid]
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        for process in started:  # some lead a group of their own
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.connection.close()
        self._process = self._ready = None

    def _start(self) -> None:
        self.kill()
        self.connection, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, self._settings), daemon=True)
        process.start()
        theirs.close()
        self._process = process
        self._num_load_attempts += 1
        self._started_at = time.monotonic()

    def _send(self) -> None:
        self._started_at = self._memory_checked_at = time.monotonic()
        with suppress(BrokenPipeError):  # the process died; the next `poll` reports it
            self.connection.send(self._task)

    def _accept(self, finished: FinishedTask[Any, Any]) -> FinishedTask[Any, Any]:
        self._task = None
        if isinstance(finished.result, Failed) and self._ready is not None and self._ready.restart_after_error:
            self.kill()
        return finished

    def _handle_death(self) -> FinishedTask[Any, Any] | None:
        process, is_ready = self._process, self._ready is not None
        assert process is not None
        process.join()
        cause = _describe_exit(process.exitcode)
        if is_ready:
            return self._fail(CRASHED, f"its worker {cause}")
        if self._num_load_attempts >= _MAX_LOAD_ATTEMPTS:
            where = "" if self._settings.log is None else f"; see {self._settings.log}"
            raise LatentSyncError(f"{self._settings.work.title} cannot start: a worker {cause}{where}")
        self._start()
        return None

    def _check_limits(self) -> FinishedTask[Any, Any] | None:
        now, limits = time.monotonic(), self._limits
        if self._ready is None:
            if now - self._started_at > _LOAD_TIMEOUT_S:
                raise LatentSyncError(f"{self._settings.work.title} did not load in {_LOAD_TIMEOUT_S:g} s")
            return None
        if limits.timeout_s is not None and now - self._started_at > limits.timeout_s:
            return self._fail(TIMEOUT, f"not finished after {limits.timeout_s:g} s ({limits.timeout_option})")
        if limits.memory_gb is None or now - self._memory_checked_at < _POLL_INTERVAL_S:
            return None
        self._memory_checked_at = now
        used_gib = self._memory_bytes() / _BYTES_PER_GIB
        if used_gib > limits.memory_gb:
            limit = f"limit {limits.memory_gb:g} (--memory_limit_gb)"
            return self._fail(MEMORY, f"{used_gib:.1f} GiB used, {limit}")
        return None

    def _memory_bytes(self) -> int:
        """Return the resident memory of the process and of all processes that it started."""
        total = 0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def _processes(self) -> list[psutil.Process]:
        """Return the process and all processes that it started; none if it has ended."""
        assert self._process is not None
        try:
            worker = psutil.Process(self._process.pid)
            return [worker, *worker.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _fail(self, reason: str, detail: str) -> FinishedTask[Any, Any]:
        task, self._task = self._task, None
        seconds = time.monotonic() - self._started_at
        self.kill()
        return FinishedTask(task, Failed(reason, detail), seconds)


def _describe_exit(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit status {exit_code}"
