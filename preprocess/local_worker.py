"""The process of one local worker: loads a step once, then runs one job after the other.

A worker gets its `WorkerSettings` when it is started. Over one pipe it sends `Ready` or `LoadFailed`, then receives a
`Job` at a time and answers each with a `Finished`; None ends it.
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
from preprocess.executor import Finished, Job
from preprocess.step import Step
from preprocess.worker import limit_threads, one_line, run_job


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is told at its start.

    Attributes:
        step: what to load.
        index: its number, which decides its accelerator.
        num_threads: for its numeric libraries.
        log: file that takes what it and its tools print.
    """

    step: Step
    index: int
    num_threads: int
    log: Path


@dataclass(frozen=True)
class Ready:
    """The step is loaded.

    replaced_after_error: whether an error may have spoilt the worker (an accelerator's context is lost for good).
    """

    replaced_after_error: bool


@dataclass(frozen=True)
class LoadFailed:
    """The step could not be loaded, and could not be anywhere."""

    message: str


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """The life of a worker process; it ends with the driver, and its tools with it."""
    os.setsid()  # one process group with its tools, to be killed together, which Ctrl-C in a terminal does not reach
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, daemon=True).start()
    _print_into(settings.log)
    limit_threads(settings.num_threads)
    try:
        device = worker_device(settings.index) if settings.step.uses_device else torch.device("cpu")
        process = settings.step.load(device)
    except Exception as error:
        connection.send(LoadFailed(one_line(error)))
        return
    connection.send(Ready(replaced_after_error=device.type != "cpu"))
    while isinstance(job := connection.recv(), Job):
        finished: Finished = run_job(process, job)
        connection.send(finished)


def _end_with_driver() -> None:
    """Kills this worker and its tools as soon as the driver is gone, however that ended."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os.killpg(0, signal.SIGKILL)


def _print_into(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        file = os.open(os.devnull if number == 0 else log, flags | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, number)
        os.close(file)
