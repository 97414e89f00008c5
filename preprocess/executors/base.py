"""Interface of the executors, and the code that every worker runs: execute a task, turn exceptions into results."""

import errno
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from latentsync.errors import LatentSyncError
from latentsync.media.ffmpeg_tools import NO_SPACE
from preprocess.step import Clip, ProcessClip, Rejected, Step, StepResult

FailureReason = Literal["error", "crashed", "timeout", "memory", "no_space", "disk"]
"""error: the step raised an exception; crashed: the worker process died; timeout, memory: a limit was exceeded;
no_space: the disk is full; disk: it cannot be written to. The last two are no faults of the clip and stop the run."""

_MAX_DETAIL_CHARS = 500
_DISK_TEST_BYTES = 4096


@dataclass(frozen=True)
class Task:
    """One clip in one step.

    Attributes:
        record_key: key of the manifest row: this clip, this step, these settings.
        clip: the clip.
        work: folder for the outputs. The worker creates it, the step writes into it, the runner removes it.
    """

    record_key: str
    clip: Clip
    work: Path


@dataclass(frozen=True)
class Failed:
    """Result of a task without a step result.

    Attributes:
        reason: kind of failure.
        detail: one line, such as the message of the exception.
    """

    reason: FailureReason
    detail: str


@dataclass(frozen=True)
class FinishedTask:
    """A finished task.

    Attributes:
        task: the task.
        result: the step's result, or the failure.
        seconds: time in the worker.
    """

    task: Task
    result: StepResult | Failed
    seconds: float


class Executor(Protocol):
    """Runs tasks in worker processes. A worker that dies or hangs fails only its own task, and is replaced."""

    def run(self, step: Step, tasks: Iterable[Task]) -> Iterator[FinishedTask]:
        """Yield every task when it finishes.

        Tasks are taken from the iterable only when a worker is free. Closing the returned iterator stops the workers.
        """
        ...


def run_task(process: ProcessClip, task: Task) -> FinishedTask:
    """Run a step's function on one clip in a new work folder; an exception becomes a `Failed`."""
    started = time.monotonic()
    result: StepResult | Failed
    try:
        task.work.mkdir(parents=True, exist_ok=True)
        result = process(task.clip, task.work)
        json.dumps(asdict(result), default=os.fspath)  # facts that a manifest cannot store are an error of the step
        # On a broken disk a step may take a file it could not write for a bad clip.
        if isinstance(result, Rejected) and (disk_error := find_disk_error(task.work)) is not None:
            raise disk_error
    except Exception as error:
        result = Failed(_failure_reason(error, task.work), describe_error(error))
    return FinishedTask(task, result, time.monotonic() - started)


def limit_threads(num_threads: int) -> None:
    """Limit the threads of this process's numeric libraries, and of those in processes that it starts."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(num_threads)
    torch.set_num_threads(num_threads)


def describe_error(error: Exception) -> str:
    """Return an exception as one line; the type is omitted for errors whose message is written for users."""
    text = " ".join(str(error).split())[:_MAX_DETAIL_CHARS]
    if isinstance(error, LatentSyncError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def find_disk_error(folder: Path) -> OSError | None:
    """Write a small test file into a folder; return the error, or None if it succeeds."""
    test_file = folder / "probe"
    try:
        with test_file.open("wb") as file:
            file.write(bytes(_DISK_TEST_BYTES))
            file.flush()
            os.fsync(file.fileno())
        test_file.unlink()
    except OSError as error:
        return error
    return None


def _failure_reason(error: Exception, work: Path) -> FailureReason:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or NO_SPACE in str(error):
        return "no_space"
    return "error" if find_disk_error(work) is None else "disk"
