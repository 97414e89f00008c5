"""What a worker of either executor does with a job: run it, time it, and turn what goes wrong into a result."""

import errno
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch

from latentsync.errors import LatentSyncError
from latentsync.media.ffmpeg_tools import NO_SPACE
from preprocess.disk import fault_of
from preprocess.executor import Finished, Job
from preprocess.step import Process
from preprocess.verdict import Rejected

FailureReason = Literal["error", "crashed", "timeout", "memory", "no_space", "disk"]
"""error: the step raised; crashed: its worker died; timeout, memory: it went over a limit; no_space: the disk is full,
disk: it cannot be written to, which are no faults of the clip and stop the run."""

_LINE_CHARS = 500


def run_job(process: Process, job: Job) -> Finished:
    """Runs a step's function on a clip, in a new work folder; whatever it raises becomes a failure."""
    started = time.monotonic()
    try:
        job.work.mkdir(parents=True, exist_ok=True)
        verdict = process(job.clip, job.work)
        json.dumps(asdict(verdict), default=os.fspath)  # a manifest can hold its facts, else it is the step's error
        if isinstance(verdict, Rejected) and (fault := fault_of(job.work)) is not None:
            raise fault
    except Exception as error:
        return failed(job, _reason(error, job.work), one_line(error), time.monotonic() - started)
    return Finished(job, verdict, None, time.monotonic() - started)


def failed(job: Job, reason: FailureReason, detail: str, seconds: float) -> Finished:
    """The end of a job that came to none; `split_failure` gives reason and detail back."""
    return Finished(job, None, f"{reason}: {detail}", seconds)


def split_failure(error: str) -> tuple[str, str]:
    """(reason, detail) of the error of a failed job."""
    reason, _, detail = error.partition(": ")
    return reason, detail


def limit_threads(num_threads: int) -> None:
    """Holds this process's numeric libraries, and those of the processes that it starts, to so many threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(num_threads)
    torch.set_num_threads(num_threads)


def one_line(error: Exception) -> str:
    """An exception in one line; its type is left out where the message was written for people."""
    text = " ".join(str(error).split())[:_LINE_CHARS]
    if isinstance(error, LatentSyncError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _reason(error: Exception, work: Path) -> FailureReason:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or NO_SPACE in str(error):
        return "no_space"
    return "error" if fault_of(work) is None else "disk"
