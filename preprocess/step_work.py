"""The steps as work for the executors: one task is one clip in one step."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from latentsync.executors.base import Failed, FinishedTask, Work, describe_error
from latentsync.media.ffmpeg_tools import NO_SPACE as FFMPEG_NO_SPACE
from preprocess.step import Clip, ProcessClip, Rejected, Step, StepResult

NO_SPACE, DISK = "no_space", "disk"
"""Failures that are no faults of the clip and stop the run: the disk is full, or it cannot be written to."""

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


FinishedClip = FinishedTask[Task, StepResult]


@dataclass(frozen=True)
class StepWork(Work[Task, StepResult]):
    """Work of one step; see `Work`.

    Attributes:
        step: the step.
    """

    step: Step

    @property
    def name(self) -> str:
        """Number and name, as in the names of manifests."""
        return f"{self.step.number}_{self.step.name}"

    @property
    def title(self) -> str:
        """Number and name for messages."""
        return f"step {self.step.number} ({self.step.name})"

    @property
    def uses_device(self) -> bool:
        """True if the step runs a network."""
        return self.step.uses_device

    def load(self, device: torch.device) -> Callable[[Task], StepResult | Failed]:
        """Load the step and return its function of one task."""
        process = self.step.load(device)
        return lambda task: process_task(process, task)

    def retried(self, task: Task, attempt: int) -> Task:
        """Return the task with another work folder: a machine that is only disconnected may still write."""
        return replace(task, work=task.work.with_name(f"{task.record_key}-{attempt}"))


def process_task(process: ProcessClip, task: Task) -> StepResult | Failed:
    """Run a step's function on one clip in a new work folder; the failure of a disk is a result."""
    try:
        task.work.mkdir(parents=True, exist_ok=True)
        result = process(task.clip, task.work)
        json.dumps(asdict(result), default=os.fspath)  # facts that a manifest cannot store are an error of the step
        # On a broken disk a step may take a file it could not write for a bad clip.
        if isinstance(result, Rejected) and (disk_error := find_disk_error(task.work)) is not None:
            raise disk_error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = _disk_failure(error, task.work)
        if reason is None:
            raise
        return Failed(reason, describe_error(error))
    return result


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


def _disk_failure(error: Exception, work: Path) -> str | None:
    """Return the reason if an exception was caused by the disk, else None."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or FFMPEG_NO_SPACE in str(error):
        return NO_SPACE
    return None if find_disk_error(work) is None else DISK
