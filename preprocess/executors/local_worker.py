"""Worker process of the local executor: load a step once, then run tasks one by one.

The process receives its `WorkerSettings` as an argument. Over its pipe it sends `Ready` or `LoadFailed`, then answers
each `Task` with a `FinishedTask`. Any other message, such as None, ends it.
"""

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from latentsync.device import worker_device
from preprocess.executors.base import FinishedTask, Task, describe_error, limit_threads, run_task
from preprocess.step import Step


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker process.

    Attributes:
        step: the step to load.
        index: number of the worker, which selects its accelerator.
        num_threads: threads of its numeric libraries.
        log: file that receives the output of the worker and of the programs it starts.
    """

    step: Step
    index: int
    num_threads: int
    log: Path


@dataclass(frozen=True)
class Ready:
    """Message: the step is loaded.

    Attributes:
        restart_after_error: True if the process must be replaced after a failed task, because an error may leave the
            accelerator's context unusable.
    """

    restart_after_error: bool


@dataclass(frozen=True)
class LoadFailed:
    """Message: the step cannot be loaded, by this or any other worker."""

    message: str


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Run the worker until its connection or the main process ends."""
    # The worker leads a process group with the programs it starts: they are killed together, and Ctrl-C in a terminal
    # does not reach them.
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_main_process, daemon=True).start()
    _redirect_output(settings.log)
    limit_threads(settings.num_threads)
    try:
        device = worker_device(settings.index) if settings.step.uses_device else torch.device("cpu")
        process = settings.step.load(device)
    except Exception as error:
        connection.send(LoadFailed(describe_error(error)))
        return
    connection.send(Ready(restart_after_error=device.type != "cpu"))
    while isinstance(task := connection.recv(), Task):
        finished: FinishedTask = run_task(process, task)
        connection.send(finished)


def _exit_with_main_process() -> None:
    """Wait for the end of the main process, then kill this process group."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)


def _redirect_output(log: Path) -> None:
    """Connect standard input to the null device, and standard output and error to the log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        file = os.open(os.devnull if number == 0 else log, flags | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
