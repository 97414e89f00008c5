"""Worker process of the local executor: load the work once, then run tasks one by one.

The process receives its `WorkerSettings` as an argument. Over its pipe it sends `Ready` or `LoadFailed`, then answers
each task with a `FinishedTask`. The message None ends it.
"""

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from latentsync.device import worker_device
from latentsync.executors.base import Work, describe_error, run_task


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker process.

    Attributes:
        work: the work to load.
        index: number of the worker, which selects its accelerator.
        num_threads: threads of its numeric libraries.
        log: file that receives the output of the worker and of the programs it starts; None: the output of the main
            process.
    """

    work: Work[Any, Any]
    index: int
    num_threads: int
    log: Path | None


@dataclass(frozen=True)
class Ready:
    """Message: the work is loaded.

    Attributes:
        restart_after_error: True if the process must be replaced after a failed task, because an error may leave the
            accelerator's context unusable.
    """

    restart_after_error: bool


@dataclass(frozen=True)
class LoadFailed:
    """Message: the work cannot be loaded, by this or any other worker."""

    message: str


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Run the worker until its connection or the main process ends."""
    # The worker leads a process group with the programs it starts: they are killed together, and Ctrl-C in a terminal
    # does not reach them.
    if os.name == "posix":
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_main_process, daemon=True).start()
    _redirect(0, os.devnull)
    if settings.log is not None:
        settings.log.parent.mkdir(parents=True, exist_ok=True)
        _redirect(1, settings.log)
        _redirect(2, settings.log)
    limit_threads(settings.num_threads)
    try:
        device = worker_device(settings.index) if settings.work.uses_device else torch.device("cpu")
        process = settings.work.load(device)
    except Exception as error:
        connection.send(LoadFailed(describe_error(error)))
        return
    connection.send(Ready(restart_after_error=device.type != "cpu"))
    while (task := connection.recv()) is not None:
        connection.send(run_task(process, task))


def limit_threads(num_threads: int) -> None:
    """Limit the threads of this process's numeric libraries, and of those in processes that it starts."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(num_threads)
    torch.set_num_threads(num_threads)


def _exit_with_main_process() -> None:
    """Wait for the end of the main process, then kill this process group."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if os.name == "posix":
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _redirect(number: int, path: Path | str) -> None:
    """Connect standard input (0), output (1) or error (2) to a file."""
    file = os.open(path, (os.O_WRONLY if number else os.O_RDONLY) | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, number)
    os.close(file)
