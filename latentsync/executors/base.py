"""Interface of the executors, of the work that they run, and the code that every worker runs for a task."""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import torch

from latentsync.errors import LatentSyncError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

ERROR, CRASHED, TIMEOUT, MEMORY = "error", "crashed", "timeout", "memory"
"""Reasons of failures. error: the work raised an exception; crashed: the worker process died; timeout, memory: a limit
was exceeded. Work may return failures with reasons of its own."""

_MAX_DETAIL_CHARS = 500


@dataclass(frozen=True)
class Failed:
    """Result of a task that failed.

    Attributes:
        reason: kind of failure, such as `CRASHED`.
        detail: one line, such as the message of the exception.
    """

    reason: str
    detail: str


@dataclass(frozen=True)
class FinishedTask(Generic[TaskT, ResultT]):
    """A finished task.

    Attributes:
        task: the task.
        result: the result of the work, or the failure.
        seconds: time in the worker.
    """

    task: TaskT
    result: ResultT | Failed
    seconds: float


class Work(ABC, Generic[TaskT, ResultT]):
    """What workers do: load once, then handle one task after another.

    Instances and tasks are small and picklable, and their classes importable, because workers receive them. A task is
    never None.
    """

    one_per_machine: ClassVar[bool] = False
    """True if a machine without accelerators runs one worker that uses all cores, instead of one worker per core."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in the file names of logs, such as ``5_faces``."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Name in messages, such as ``step 5 (faces)``."""

    @property
    @abstractmethod
    def uses_device(self) -> bool:
        """True if the work runs a network: one worker per accelerator."""

    @abstractmethod
    def load(self, device: torch.device) -> Callable[[TaskT], ResultT | Failed]:
        """Load the networks and return the function of one task; called once per worker."""

    def retried(self, task: TaskT, attempt: int) -> TaskT:
        """Return the task for a further attempt after its machine was lost; that machine may still be writing.

        Args:
            task: the first attempt.
            attempt: number of the attempt, from 2.
        """
        return task


@dataclass(frozen=True)
class Limits:
    """Limits of one task.

    Attributes:
        timeout_s: time limit in seconds; None: no limit.
        memory_gb: limit in GiB for a worker together with the processes it started; None: no limit.
        timeout_option: command-line option of the time limit, for messages.
    """

    timeout_s: float | None = None
    memory_gb: float | None = None
    timeout_option: str = "--timeout_s"


WhileWaiting = Callable[[], None]
"""Called every half second, about, while tasks run; an exception stops the workers and is passed on."""


def do_nothing() -> None:
    """Wait for tasks without doing anything else."""


class Executor(Protocol):
    """Runs tasks in worker processes. A worker that dies or hangs fails only its own task, and is replaced."""

    def run(
        self, work: Work[TaskT, ResultT], tasks: Iterable[TaskT], while_waiting: WhileWaiting = do_nothing
    ) -> Iterator[FinishedTask[TaskT, ResultT]]:
        """Yield every task when it finishes.

        Tasks are taken from the iterable only when a worker is free. Closing the returned iterator stops the workers,
        and so does an exception of `while_waiting`.
        """
        ...


def run_task(process: Callable[[TaskT], ResultT | Failed], task: TaskT) -> FinishedTask[TaskT, ResultT]:
    """Run the function of one task; an exception becomes a `Failed`."""
    started = time.monotonic()
    try:
        result = process(task)
    except Exception as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        result = Failed(MEMORY if is_memory else ERROR, describe_error(error))
    return FinishedTask(task, result, time.monotonic() - started)


def describe_error(error: Exception) -> str:
    """Return an exception as one line; the type is omitted for errors whose message is written for users."""
    text = " ".join(str(error).split())[:_MAX_DETAIL_CHARS]
    if isinstance(error, LatentSyncError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
