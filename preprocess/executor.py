"""What runs the function of a step over many clips: worker processes here, or a Ray cluster."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from preprocess.clip import Clip
from preprocess.step import Step
from preprocess.verdict import Verdict


@dataclass(frozen=True)
class Job:
    """One clip for one step.

    Attributes:
        record_key: the manifest's key of this clip at this step under these settings.
        clip: the clip.
        work: the folder that the worker makes (empty), lets the step write into, and leaves to the runner.
    """

    record_key: str
    clip: Clip
    work: Path


@dataclass(frozen=True)
class Finished:
    """What came of a job.

    Attributes:
        job: the job.
        verdict: the step's verdict, or None where it failed.
        error: one line, where it failed: what the step raised, or that it hung, died or ate too much memory.
        seconds: the time it took in its worker.
    """

    job: Job
    verdict: Verdict | None
    error: str | None
    seconds: float


class Executor(Protocol):
    """Runs jobs on workers; a worker that dies or hangs costs its own job only, and is replaced."""

    def run(self, step: Step, jobs: Iterable[Job]) -> Iterator[Finished]:
        """Every job's end, as they end; takes jobs from the iterator as workers get free, never all at once.

        Closing the iterator (or an exception thrown into it) stops the workers.
        """
        ...
