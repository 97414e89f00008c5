"""Run the jobs of a list in this process or in workers, with an outcome for each job when it ends.

A worker generates its jobs and writes their records as this process would. Only the failure of a job whose worker died
or exceeded a limit is recorded here, so that every job ends exactly once and the same command tries it again.
"""

import argparse
import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import torch

from latentsync.errors import LatentSyncError
from latentsync.executors.base import ERROR, Executor, FinishedTask, Work
from latentsync.pipelines.video_maker import Outcome, VideoJob
from latentsync.recipes.list_maker import ListMaker
from latentsync.storage.temporary_files import remove_leftovers

NumberedJob = tuple[int, VideoJob]
"""A job with its place in the list, from 0."""
FinishedJob = FinishedTask[NumberedJob, Outcome]


@dataclass(frozen=True)
class ListWork(Work[NumberedJob, Outcome]):
    """Work of the workers of a list. A worker loads networks with the first job that needs them, and keeps the last.

    Attributes:
        arguments: the command line (`lipsync_arguments`).
        use_default_preset: see `ChosenPipeline.of`.
        folder: working folder of the command, to which paths are relative.
    """

    arguments: argparse.Namespace
    use_default_preset: bool
    folder: str

    one_per_machine: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """Name of logs."""
        return "lipsync"

    @property
    def title(self) -> str:
        """Name in messages."""
        return "the list"

    @property
    def uses_device(self) -> bool:
        """True unless the CPU was chosen."""
        return self.arguments.device != "cpu"

    def load(self, device: torch.device) -> Callable[[NumberedJob], Outcome]:
        """Return the function of one job."""
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        os.chdir(self.folder)
        arguments = argparse.Namespace(**vars(self.arguments) | {"device": str(device)})
        maker = ListMaker(arguments, self.use_default_preset)
        return lambda numbered: maker.make(numbered[1])


def make_all(
    jobs: Mapping[int, VideoJob], maker: ListMaker, executor: Executor | None
) -> Generator[tuple[int, Outcome], None, None]:
    """Yield the outcome of every job with its place in the list when it ends.

    Args:
        jobs: jobs by their place, in the order in which they are started.
        maker: generates the videos in this process if there is no executor.
        executor: runs the jobs in workers, which are stopped when the returned generator is closed.

    Raises:
        LatentSyncError: the networks cannot be loaded, or no worker can be started.
    """
    if executor is None:
        yield from ((index, maker.make(job)) for index, job in jobs.items())
        return
    work = ListWork(maker.arguments, maker.use_default_preset, os.getcwd())
    finished_jobs = cast(Generator[FinishedJob, None, None], executor.run(work, iter(jobs.items())))
    try:
        with closing(finished_jobs):
            for finished in finished_jobs:
                yield finished.task[0], _outcome_of(finished, maker)
    finally:
        _remove_unfinished(jobs.values(), maker.temp_dir)


def _outcome_of(finished: FinishedJob, maker: ListMaker) -> Outcome:
    """Return the outcome of a job; a failure that the worker could not record itself is recorded."""
    result = finished.result
    if isinstance(result, Outcome):
        return result
    if result.reason == ERROR:  # `ListMaker.make` raises only if the networks cannot be loaded
        raise LatentSyncError(f"a worker failed: {result.detail}")
    return maker.record_failure(finished.task[1], f"{result.reason}: {result.detail}")


def _remove_unfinished(jobs: Iterable[VideoJob], temp_dir: Path | None) -> None:
    """Remove the unfinished files of workers of this machine that were stopped."""
    for folder in {job.result.parent for job in jobs} | {temp_dir or Path(tempfile.gettempdir())}:
        remove_leftovers(folder)
