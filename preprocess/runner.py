"""Run the steps one after the other, each over all clips, and record the result of every clip.

Only this process writes to the output folder and the manifests, always in this order: the outputs of a worker are
renamed to their final places, the row is recorded, the work folder is removed. Killing the process at any time costs at
most the tasks in progress: repeating them gives the same files in the same places.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

from latentsync.errors import InputError, LatentSyncError
from latentsync.executors.base import Executor, Failed
from preprocess.plan import PassThrough, PlannedStep
from preprocess.progress import Progress
from preprocess.raw_videos import raw_clip
from preprocess.step import Clip, Rejected
from preprocess.step_work import DISK, NO_SPACE, FinishedClip, StepWork, Task
from preprocess.store.content_keys import ContentKeys, keys_path
from preprocess.store.keys import input_record_key, record_key
from preprocess.store.manifest import Manifest, is_manifest
from preprocess.store.records import Row, Status
from preprocess.store.workspace import Workspace

DUPLICATE = "duplicate"
UNREADABLE = "unreadable"
DISK_ERRORS = {NO_SPACE: "the disk is full: make room", DISK: "the disk cannot be written to: have it repaired"}
"""Failures that stop the run, with the remedy."""


@dataclass(frozen=True)
class Runner:
    """Runs planned steps.

    Attributes:
        workspace: the output folder.
        executor: executor of the tasks.
        progress: progress bars.
        retry_failed: True to try clips again that failed in an earlier run.
    """

    workspace: Workspace
    executor: Executor
    progress: Progress
    retry_failed: bool = False

    def run(
        self, plan: Sequence[PlannedStep], numbers: Sequence[int], raw_files: Iterable[Path], num_raw_files: int
    ) -> None:
        """Run steps.

        Args:
            plan: all steps from the first one.
            numbers: numbers of the steps to run. Earlier steps must have been run with the same settings.
            raw_files: input of the first step; read lazily, and only if that step is run.
            num_raw_files: their number, for the progress bar.

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
                run.process(run.raw_tasks(files), num_raw_files)

    def _run_next(self, planned: PlannedStep, before: PlannedStep) -> None:
        root = self.workspace.root
        with open_finished(before, root) as previous, Manifest(planned.manifest_path(root), root) as manifest:
            run = StepRun(self, planned, manifest)
            run.process(run.tasks(previous.iter_outputs()), previous.counts().num_outputs)


def open_finished(planned: PlannedStep, root: Path) -> Manifest:
    """Open the manifest of a step that was run with the planned settings.

    Raises:
        InputError: the step was not run, or with other settings.
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
    """Check that the steps before those to run were run with the planned settings.

    Args:
        plan: all steps from the first one.
        numbers: numbers of the steps to run.
        root: the output folder.

    Raises:
        InputError: a step was not run, or with other settings.
    """
    for before, planned in pairwise(plan):
        if planned.step.number in numbers and before.step.number not in numbers:
            open_finished(before, root).close()


class StepRun:
    """Run of one step over all its clips."""

    def __init__(self, runner: Runner, planned: PlannedStep, manifest: Manifest) -> None:
        self._workspace, self._progress = runner.workspace, runner.progress
        self._executor = PassThrough() if planned.is_skipped else runner.executor
        self._retry_failed = runner.retry_failed
        self._planned = planned
        self._manifest = manifest
        self._inputs: dict[str, Path] = {}  # input files of the tasks in progress, by record key

    def process(self, tasks: Iterator[Task], num_clips: int) -> None:
        """Run the tasks and record their results; `num_clips` includes clips that need no task."""
        self._manifest.begin(self._planned.to_record())
        with self._progress.step(self._planned.title, num_clips):
            # An executor starts no worker before it has a task.
            results = cast(Generator[FinishedClip, None, None], self._executor.run(StepWork(self._planned.step), tasks))
            with closing(results):
                for finished in results:
                    self._save(finished)
        self._manifest.finish()

    def tasks(self, clips: Iterable[Clip]) -> Iterator[Task]:
        """Yield a task for every clip that is not recorded yet."""
        for clip in clips:
            key = record_key(clip.key, self._planned.settings)
            if not self._is_recorded(key):
                self._inputs[key] = clip.path
                yield Task(key, clip, self._workspace.work(key))

    def raw_tasks(self, files: Iterable[tuple[Path, str | InputError]]) -> Iterator[Task]:
        """Yield tasks for raw files with their content keys; of files with equal content one is processed."""
        for path, content in files:
            if isinstance(content, InputError):
                key = input_record_key(UNREADABLE, path)
                self._record(self._row(key, raw_clip(path, key), "failed", UNREADABLE, str(content)))
                continue
            clip = raw_clip(path, content)
            key = record_key(clip.key, self._planned.settings)
            if key not in self._inputs and not self._manifest.is_visited(key):
                yield from self.tasks([clip])
            first, duplicate = self._input_of(key), input_record_key(DUPLICATE, path)
            if first is not None and not first.exists():
                self._follow(key, path)
            elif first != path and not self._is_recorded(duplicate):
                self._record(self._row(duplicate, clip, "rejected", DUPLICATE, f"the same content as {first}"))

    def _follow(self, key: str, path: Path) -> None:
        """Record the new place of a file that was moved after it was processed."""
        if (row := self._manifest.get(key)) is not None:
            self._manifest.record(replace(row, input_path=path))

    def _input_of(self, key: str) -> Path | None:
        """Return the input file of a record, in progress or finished."""
        row = self._manifest.get(key)
        return self._inputs.get(key) or (None if row is None else row.input_path)

    def _is_recorded(self, key: str) -> bool:
        """Return True if a record and its outputs exist; the record is then marked as current."""
        row = self._manifest.get(key)
        if row is None or (row.status == "failed" and self._retry_failed):
            return False
        if not all(product.exists() for product in row.products):
            return False
        self._manifest.visit(key)
        self._progress.count_recorded(row.status)
        return True

    def _save(self, finished: FinishedClip) -> None:
        """Move the outputs to their places, record the result, and remove the work folder."""
        key = finished.task.record_key
        self._record(replace(self._to_row(finished), seconds=finished.seconds))
        del self._inputs[key]
        self._workspace.clear_work(key)

    def _to_row(self, finished: FinishedClip) -> Row:
        clip, key, result = finished.task.clip, finished.task.record_key, finished.result
        if isinstance(result, Failed):
            if result.reason in DISK_ERRORS:
                raise LatentSyncError(f"{DISK_ERRORS[result.reason]} ({result.detail}), then the same command resumes")
            return self._row(key, clip, "failed", result.reason, result.detail)
        if isinstance(result, Rejected):
            row = self._row(key, clip, "rejected", result.reason, result.detail)
            return replace(row, facts={**clip.facts, **result.facts})
        try:
            products = self._workspace.place(self._planned.step.folder, clip, key, result.outputs)
        except FileNotFoundError as error:
            return self._row(key, clip, "failed", "error", f"{error.filename} is missing")
        return replace(self._row(key, clip, "done"), products=products)

    def _row(self, key: str, clip: Clip, status: Status, reason: str = "", detail: str = "") -> Row:
        line = " ".join(detail.split())
        settings = self._planned.settings
        return Row(
            key, clip.key, clip.source, clip.name, clip.path, status, reason, line, facts=clip.facts, settings=settings
        )

    def _record(self, row: Row) -> None:
        self._manifest.record(row)
        self._progress.count(row.status)
