"""Checkpoints of a run: their folder, and saving and restoring them with all processes.

A checkpoint appears under its final name only when it is complete. The last few and the best are kept.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils.constants import OPTIMIZER_NAME, SAFE_WEIGHTS_NAME, SCALER_NAME, SCHEDULER_NAME
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from yaml import YAMLError

from latentsync.cli import one_line
from latentsync.config import rename_old_keys
from latentsync.errors import CheckpointError, LatentSyncError, first_line
from latentsync.training.checkpoint_files import (
    MANIFEST_FILE,
    SAFE_SUFFIX,
    TORCH_SUFFIXES,
    check_own_sums,
    damaged_file,
    flush_folder,
    has_manifest,
    incomplete_file,
    listed_files,
    read_plain,
    write_manifest,
)
from latentsync.training.metrics import FILE_NAME, Row, history, read_rows, write_rows
from latentsync.training.session import TrainingSession
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import TrainingStep
from latentsync.training.write_errors import write_remedy

STATE_FILE = "trainer_state.json"
CONFIG_FILE = "config.yaml"
_PLAIN_FILES = (f"{OPTIMIZER_NAME}*.bin", f"{SCHEDULER_NAME}*.bin", SCALER_NAME, "average_*.pt", "random_[0-9]*.pt")
_STEP_FOLDER = re.compile(r"step_(\d{8,})")
_PARTIAL_FOLDER = re.compile(r"\.step_\d{8,}\.(partial|removed)")


class CheckpointSaveError(LatentSyncError):
    """A checkpoint could not be written; its partial folder was removed."""


@dataclass
class Progress:
    """Progress of a training; saved with every checkpoint.

    Attributes:
        global_step: optimizer steps done.
        samples_seen: items seen by all processes together.
        seconds: time of the steps, without validating and saving.
        num_skipped_steps: steps that the fp16 scaler skipped because a gradient overflowed.
        best_value: best value of the validation metric so far.
        best_step: its step.
        is_validation_missing: True if a signal or an error prevented the validation of this step, which a resumed run
            makes up.
    """

    global_step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    num_skipped_steps: int = 0
    best_value: float | None = None
    best_step: int | None = None
    is_validation_missing: bool = False


class CheckpointFolder:
    """`<run_dir>/checkpoints`, shared by all processes of a run (on several machines: on a shared file system).

    Attributes:
        damaged: names of checkpoints with damaged content; they are ignored.
    """

    def __init__(self, run_dir: Path, damaged: Iterable[str] = ()) -> None:
        self.run_dir = run_dir
        self.path = run_dir / "checkpoints"
        self.damaged = set(damaged)

    def found(self) -> list[Path]:
        """Return all non-empty folders named like a checkpoint, the oldest first."""
        if not self.path.is_dir():
            return []
        named = [path for path in self.path.iterdir() if _STEP_FOLDER.fullmatch(path.name) and not path.is_symlink()]
        return sorted((path for path in named if path.is_dir() and any(path.iterdir())), key=step_of)

    def complete(self) -> list[Path]:
        """Return all checkpoints whose files are present with the right sizes, the oldest first."""
        return [path for path in self.found() if path.name not in self.damaged and incompleteness(path) is None]

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint, or None."""
        return next(reversed(self.complete()), None)

    def partial(self, step: int) -> Path:
        """Return the folder in which the checkpoint of a step is written."""
        return self.path / f".step_{step:08d}.partial"

    def final(self, step: int) -> Path:
        """Return the final folder of the checkpoint of a step."""
        return self.path / f"step_{step:08d}"

    def finish(self, step: int) -> Path:
        """Write the manifest of a partial checkpoint, which makes it complete, and give it its final name."""
        partial, final = self.partial(step), self.final(step)
        write_manifest(partial)
        hidden = self._hide(final) if final.exists() else None  # of a run that was resumed from an earlier step
        os.replace(partial, final)
        flush_folder(self.path)
        self.damaged.discard(final.name)
        if hidden is not None:
            shutil.rmtree(hidden)
        return final

    def prune(self, keep_last: int, best_step: int | None, current_step: int) -> None:
        """Remove complete checkpoints up to the current step, except the last `keep_last` and the best.

        Later checkpoints belong to a run that was resumed from an earlier step; they are kept and not counted.
        """
        for path in [path for path in self.complete() if step_of(path) <= current_step][:-keep_last]:
            if step_of(path) != best_step:
                shutil.rmtree(self._hide(path))

    def remove_partial(self) -> None:
        """Remove partial checkpoints of a killed run."""
        if self.path.is_dir():
            for path in self.path.iterdir():
                if _PARTIAL_FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)

    def link_best(self, step: int) -> None:
        """Point the link `checkpoints/best` to the checkpoint of a step, where the disk supports links."""
        beside = self.path / ".best.partial"
        beside.unlink(missing_ok=True)
        try:
            beside.symlink_to(self.final(step).name, target_is_directory=True)
        except OSError as error:
            logger.warning("%s was not linked as the best checkpoint (%s)", self.final(step), error.strerror)
            return
        os.replace(beside, self.path / "best")

    def publish(self, step: int, name: str) -> Path:
        """Copy a file or folder of a checkpoint into the run folder.

        It is a copy, not a link: changing it does not damage the checkpoint. An existing folder is replaced as a whole;
        files of others in it are moved to the new one.
        """
        source, target = self.final(step) / name, self.run_dir / name
        beside = self.run_dir / f".{name}.partial"
        if not source.is_dir():
            beside.unlink(missing_ok=True)
            shutil.copyfile(source, beside)
            os.replace(beside, target)
            return target
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(source, beside, copy_function=shutil.copyfile)
        hidden = self._hide(target) if target.is_dir() else None
        os.replace(beside, target)
        if hidden is not None:
            own = {path.name for checkpoint in self.found() for path in (checkpoint / name).glob("*")}
            for path in hidden.iterdir():
                if path.name not in own:
                    os.replace(path, target / path.name)
            shutil.rmtree(hidden)
        return target

    def is_published(self, step: int, name: str) -> bool:
        """Return True if a file or folder of a checkpoint was copied to the run folder, even if it changed there since.

        Checkpoints of older versions have no manifest to compare with; for them the answer is True.
        """
        manifest, target = self.final(step) / MANIFEST_FILE, self.run_dir / name
        if not manifest.is_file():
            return True
        return target.exists() and target.stat().st_mtime_ns >= manifest.stat().st_mtime_ns

    def _hide(self, path: Path) -> Path:
        hidden = path.with_name(f".{path.name}.removed")
        shutil.rmtree(hidden, ignore_errors=True)
        os.replace(path, hidden)
        return hidden


def incompleteness(folder: Path) -> str | None:
    """Return why a folder is not a complete checkpoint, by presence and size of its files, or None."""
    fault = incomplete_file(folder) if has_manifest(folder) else None
    if fault is None and has_manifest(folder) and STATE_FILE not in listed_files(folder):
        fault = f"{MANIFEST_FILE} lists no {STATE_FILE}"
    if fault is not None:
        return fault
    if not (folder / CONFIG_FILE).is_file():
        return f"{CONFIG_FILE} is missing"
    if not has_manifest(folder) and not any(folder.glob("*model*")):
        return f"{SAFE_WEIGHTS_NAME} is missing"
    try:
        read_state(folder)
    except CheckpointError as error:
        return str(error)
    return None


def damage(folder: Path) -> str | None:
    """Return why a folder is not an intact checkpoint, by the content of its files too, or None.

    A checkpoint of an older version has no manifest; only files with checksums of their own are verified.
    """
    fault = incompleteness(folder)
    if fault is not None:
        return fault
    if has_manifest(folder):
        return damaged_file(folder)
    try:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in {*TORCH_SUFFIXES, SAFE_SUFFIX}):
            check_own_sums(path)
        for path in [path for pattern in _PLAIN_FILES for path in folder.glob(pattern)]:
            read_plain(path)
    except CheckpointError as error:
        return str(error)
    return None


def step_of(path: Path) -> int:
    """Return the step of a checkpoint folder.

    Raises:
        CheckpointError: the name is not one of a checkpoint.
    """
    match = _STEP_FOLDER.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path} is no checkpoint folder: such names look like step_00000100")
    return int(match[1])


def write_state(folder: Path, progress: Progress) -> None:
    """Write the progress of a checkpoint."""
    (folder / STATE_FILE).write_text(json.dumps(vars(progress), indent=1) + "\n", encoding="utf-8")


def read_state(folder: Path) -> Progress:
    """Read the progress of a checkpoint.

    Raises:
        CheckpointError: its file is missing or damaged; the message names it.
    """
    try:
        progress = Progress(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise CheckpointError(f"{STATE_FILE} is missing") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{STATE_FILE} is damaged") from error
    counts = (progress.global_step, progress.samples_seen, progress.num_skipped_steps)
    if (
        not all(type(count) is int and count >= 0 for count in (*counts, progress.best_step or 0))
        or type(progress.seconds) not in (int, float)
        or type(progress.best_value) not in (int, float, type(None))
        or type(progress.is_validation_missing) is not bool
    ):
        raise CheckpointError(f"{STATE_FILE} is damaged")
    return progress


def differing_keys(saved: Mapping[str, Any], current: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of values in which two nested configurations differ."""
    for key in dict.fromkeys([*saved, *current]):
        name = f"{prefix}{key}"
        old, new = saved.get(key), current.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differing_keys(old, new, f"{name}.")
        elif old != new:
            yield name


logger = logging.getLogger(__name__)

_TORCH_SOURCE_PREFIX = re.compile(r"^\[enforce fail at [^\]]*\][ .]*")

# Keys that a resume may change without a warning. Of these only the length changes the result, by the schedule.
_HARMLESS_KEYS = {
    "run_dir", "resume", "max_steps", "max_minutes", "num_workers", "num_threads", "device", "log_every",
    "validate_every", "validate_minutes", "save_every", "keep_last",
}  # fmt: skip


class CheckpointSaver:
    """Save checkpoints in stages; an error in one process ends the run in all of them.

    Args:
        session: the training state to save.
        step: exports the weights in the published format.
        config: of the run.
        resolved_config: the whole configuration, saved with every checkpoint.
        damaged: names of damaged checkpoints of the run folder.
    """

    def __init__(
        self,
        session: TrainingSession,
        step: TrainingStep,
        config: TrainerConfig,
        resolved_config: Mapping[str, Any],
        damaged: Iterable[str] = (),
    ) -> None:
        self.folder = CheckpointFolder(Path(config.run_dir), damaged)
        self._session, self._step, self._config, self._resolved_config = session, step, config, resolved_config

    def save(self, progress: Progress, rows: Sequence[Row]) -> Path:
        """Save a checkpoint, export the weights into the run folder, remove old ones; every process calls this.

        Raises:
            CheckpointSaveError: a file cannot be written, for example because the disk is full.
        """
        step = progress.global_step
        partial = self.folder.partial(step)
        self._stage(step, lambda: self._begin(partial))
        self._stage(step, lambda: self._write(partial, progress, rows))
        self._stage(step, lambda: self._finish(progress))
        return self.folder.final(step)

    def restore(self, folder: Path) -> tuple[Progress, list[Row]]:
        """Load a checkpoint and return its progress and metrics; every process calls this.

        Raises:
            CheckpointError: it cannot be read, or does not fit the configuration.
        """
        remedy = "move this folder away to continue from the one before"
        if self._config.resume != "latest":
            remedy = "give another with training.resume="
        if self._session.is_main:
            self._warn_of_differences(folder)
        self._session.read(folder, remedy)
        return read_state(folder), read_rows(folder / FILE_NAME)

    def _warn_of_differences(self, folder: Path) -> None:
        try:
            loaded = OmegaConf.load(folder / CONFIG_FILE)
            saved = OmegaConf.to_container(rename_old_keys(loaded)) if isinstance(loaded, DictConfig) else None
        except (OSError, ValueError, YAMLError, OmegaConfBaseException):
            saved = None
        if not isinstance(saved, dict):
            logger.warning("%s cannot be read, so the configuration is not compared with it", folder / CONFIG_FILE)
            return
        saved = {str(key): value for key, value in saved.items()}
        names = [n for n in differing_keys(saved, self._resolved_config) if n.split(".")[-1] not in _HARMLESS_KEYS]
        if names:
            logger.warning("the configuration differs from that of %s in %s", folder, ", ".join(names))

    def _begin(self, partial: Path) -> None:
        if self._session.is_main:
            self.folder.remove_partial()
            partial.mkdir(parents=True)

    def _write(self, partial: Path, progress: Progress, rows: Sequence[Row]) -> None:
        self._session.write(partial)
        with self._session.exported_weights() as weights:
            if self._session.is_main:
                self._step.export(weights, partial / self._step.export_name, progress.global_step, history(rows))
        if self._session.is_main:
            OmegaConf.save(OmegaConf.create(dict(self._resolved_config)), partial / CONFIG_FILE)
            write_rows(partial / FILE_NAME, rows)
            write_state(partial, progress)

    def _finish(self, progress: Progress) -> None:
        if self._session.is_main:
            self.folder.finish(progress.global_step)
            self.folder.publish(progress.global_step, self._step.export_name)
            if progress.best_step == progress.global_step:
                self.folder.link_best(progress.global_step)
            self.folder.prune(self._config.keep_last, progress.best_step, progress.global_step)

    def _stage(self, step: int, work: Callable[[], None]) -> None:
        failure: BaseException | None = None
        try:
            work()
        except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk
            failure = error
        own = None if failure is None else (_first_line(failure), write_remedy(failure, self.folder.run_dir))
        failures = [each for each in self._session.gathered(own) if each is not None]
        if failures:
            reason, remedy = failures[0]
            if self._session.is_main:
                shutil.rmtree(self.folder.partial(step), ignore_errors=True)
            last = self.folder.latest()
            raise CheckpointSaveError(
                f"cannot save step {step} in {self.folder.path}: {reason}: {remedy}, "
                f"then run the same command again; the last complete checkpoint is {last or 'none'}"
            ) from failure


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError):
        return one_line(error)
    return _TORCH_SOURCE_PREFIX.sub("", first_line(error))
