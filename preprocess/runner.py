"""Runs the steps one after the other, each over all clips, and writes down what came of every one.

Only this process writes to the output folder and the manifests, always in this order: a worker's outputs are renamed to
their final places, then the row is recorded, then the work folder goes. Ending it anywhere in between costs at most the
work on the clips under way: doing that again gives the same files in the same places.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

from latentsync.errors import InputError, LatentSyncError
from preprocess.clip import Clip
from preprocess.executor import Executor, Finished, Job
from preprocess.keys import input_record_key, record_key
from preprocess.manifest import Manifest, is_manifest
from preprocess.plan import PassThrough, PlannedStep
from preprocess.progress import Progress
from preprocess.raw_clips import ContentKeys, keys_path, raw_clip
from preprocess.records import Row, Status
from preprocess.verdict import Rejected
from preprocess.worker import split_failure
from preprocess.workspace import Workspace

DUPLICATE = "duplicate"
UNREADABLE = "unreadable"
DISK_FAULTS = {"no_space": "the disk is full: make room", "disk": "the disk cannot be written to: have it repaired"}
"""Failures that stop the run, and what to do."""


@dataclass(frozen=True)
class Runner:
    """Runs planned steps.

    Attributes:
        workspace: the output folder.
        executor: what runs the jobs.
        progress: hears of everything.
        retry_failed: whether clips that failed before are tried again.
    """

    workspace: Workspace
    executor: Executor
    progress: Progress
    retry_failed: bool = False

    def run(
        self, plan: Sequence[PlannedStep], numbers: Sequence[int], raw_files: Iterable[Path], num_raw_files: int
    ) -> None:
        """Runs steps.

        Args:
            plan: all steps, from the first.
            numbers: which of them to run; those before must have been run with the same settings.
            raw_files: what goes into the first step; it is read lazily, and not at all where that is not run.
            num_raw_files: how many they are, to tell the time left.

        Raises:
            InputError: an earlier step was not run with these settings.
            LatentSyncError: a step cannot be loaded, or the disk is full.
        """
        if 1 in numbers:
            self._run_first(plan[0], raw_files, num_raw_files)
        for before, planned in pairwise(plan):
            if planned.step.number in numbers:
                self._run_next(planned, before)

    def _run_first(self, planned: PlannedStep, raw_files: Iterable[Path], num_raw_files: int) -> None:
        root = self.workspace.root
        with Manifest(planned.manifest_path(root), root) as manifest, ContentKeys(keys_path(root)) as keys:
            run = StepRun(self, planned, manifest)
            with closing(keys.of_files(raw_files)) as files:
                run.finish(run.raw_jobs(files), num_raw_files)

    def _run_next(self, planned: PlannedStep, before: PlannedStep) -> None:
        root = self.workspace.root
        with open_finished(before, root) as previous, Manifest(planned.manifest_path(root), root) as manifest:
            run = StepRun(self, planned, manifest)
            run.finish(run.jobs(previous.iter_outputs()), previous.counts().num_outputs)


def open_finished(planned: PlannedStep, root: Path) -> Manifest:
    """The manifest of a step that was run with the planned settings.

    Raises:
        InputError: it was not.
    """
    path = planned.manifest_path(root)
    remedy = f"run --steps 1-{planned.step.number} first"
    if not is_manifest(path):
        raise InputError(f"step {planned.title} was not run in {root}: {remedy}")
    manifest = Manifest(path, root)
    if manifest.step is None or manifest.step.chain != planned.chain:
        manifest.close()
        raise InputError(f"step {planned.title} or one before it was last run with other settings in {root}: {remedy}")
    return manifest


def check_earlier_steps(plan: Sequence[PlannedStep], numbers: Sequence[int], root: Path) -> None:
    """Looks whether the steps before those to run were run with the planned settings.

    Args:
        plan: all steps, from the first.
        numbers: which of them are to be run.
        root: the output folder.

    Raises:
        InputError: one was not.
    """
    for before, planned in pairwise(plan):
        if planned.step.number in numbers and before.step.number not in numbers:
            open_finished(before, root).close()


class StepRun:
    """One step over all its clips."""

    def __init__(self, runner: Runner, planned: PlannedStep, manifest: Manifest) -> None:
        self._workspace, self._progress = runner.workspace, runner.progress
        self._executor = PassThrough() if planned.is_skipped else runner.executor
        self._retry_failed = runner.retry_failed
        self._planned = planned
        self._manifest = manifest
        self._under_way: dict[str, Path] = {}  # the input of every job that has not ended, by record key

    def finish(self, jobs: Iterator[Job], num_clips: int) -> None:
        """Does the jobs; `num_clips` is how many clips there are, with those that need no job."""
        self._manifest.begin(self._planned.describe())
        with self._progress.step(self._planned.title, num_clips):
            # An executor starts no worker before it has a job.
            ends = cast(Generator[Finished, None, None], self._executor.run(self._planned.step, jobs))
            with closing(ends):
                for finished in ends:
                    self._keep(finished)
        self._manifest.finish()

    def jobs(self, clips: Iterable[Clip]) -> Iterator[Job]:
        """What is left to do for the clips; recorded ones are passed over."""
        for clip in clips:
            key = record_key(clip.key, self._planned.settings)
            if not self._pass_over(key):
                self._under_way[key] = clip.path
                yield Job(key, clip, self._workspace.work(key))

    def raw_jobs(self, files: Iterable[tuple[Path, str | InputError]]) -> Iterator[Job]:
        """As `jobs`, for raw files with their content keys; of files with equal content one is processed."""
        for path, content in files:
            if isinstance(content, InputError):
                key = input_record_key(UNREADABLE, path)
                self._record(self._row(key, raw_clip(path, key), "failed", UNREADABLE, str(content)))
                continue
            clip = raw_clip(path, content)
            key = record_key(clip.key, self._planned.settings)
            if key not in self._under_way and not self._manifest.is_visited(key):
                yield from self.jobs([clip])
            first, duplicate = self._input_of(key), input_record_key(DUPLICATE, path)
            if first != path and not self._pass_over(duplicate):
                self._record(self._row(duplicate, clip, "rejected", DUPLICATE, f"the same content as {first}"))

    def _input_of(self, key: str) -> Path | None:
        """The file that a record is about, under way or ended."""
        row = self._manifest.get(key)
        return self._under_way.get(key) or (None if row is None else row.input_path)

    def _pass_over(self, key: str) -> bool:
        """Whether there is a record and its outputs still lie in their places; it is marked as met then."""
        row = self._manifest.get(key)
        if row is None or (row.status == "failed" and self._retry_failed):
            return False
        if not all(product.is_there() for product in row.products):
            return False
        self._manifest.visit(key)
        self._progress.passed_over(row.status)
        return True

    def _keep(self, finished: Finished) -> None:
        """Puts outputs in their places, records what came of the job, and clears up behind it."""
        key = finished.job.record_key
        self._record(replace(self._outcome(finished), seconds=finished.seconds))
        del self._under_way[key]
        self._workspace.clear_work(key)

    def _outcome(self, finished: Finished) -> Row:
        clip, key, verdict = finished.job.clip, finished.job.record_key, finished.verdict
        if verdict is None:
            reason, detail = split_failure(finished.error or "")
            if reason in DISK_FAULTS:
                raise LatentSyncError(f"{DISK_FAULTS[reason]} ({detail}), then the same command goes on")
            return self._row(key, clip, "failed", reason, detail)
        if isinstance(verdict, Rejected):
            row = self._row(key, clip, "rejected", verdict.reason, verdict.detail)
            return replace(row, facts={**clip.facts, **verdict.facts})
        try:
            products = self._workspace.place(self._planned.step.folder, clip, key, verdict.outputs)
        except FileNotFoundError as error:
            return self._row(key, clip, "failed", "error", f"{error.filename} is not there any more")
        return replace(self._row(key, clip, "done"), products=products)

    def _row(self, key: str, clip: Clip, status: Status, reason: str = "", detail: str = "") -> Row:
        line = " ".join(detail.split())
        settings = self._planned.settings
        return Row(
            key, clip.key, clip.source, clip.name, clip.path, status, reason, line, facts=clip.facts, settings=settings
        )

    def _record(self, row: Row) -> None:
        self._manifest.record(row)
        self._progress.ended(row.status)
