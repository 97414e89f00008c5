"""The run folder: its ownership, its lock, and the checkpoint from which a training resumes."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import CheckpointError, InputError
from latentsync.storage.owned_folder import check_ownership, check_unlocked, claim_folder, locked
from latentsync.training.checkpoint_files import has_manifest
from latentsync.training.checkpointing import CONFIG_FILE, STATE_FILE, CheckpointFolder, damage, step_of
from latentsync.training.launch import decided_by_main
from latentsync.training.metrics import FILE_NAME
from latentsync.training.trainer_config import TrainerConfig

logger = logging.getLogger(__name__)

PROGRAM = "training"
_REMEDY = "choose another training.run_dir"
_WAIT = "wait until it ends, or choose another training.run_dir"
_FOLDERS = ("checkpoints", "charts", "tensorboard", "validation")
_FILES = (CONFIG_FILE, FILE_NAME, "train_clips.json", "validation_clips.json")


@dataclass(frozen=True)
class Resume:
    """Start of a run.

    Attributes:
        checkpoint: intact checkpoint to resume from; None: the run starts from step 0.
        damaged: names of newer checkpoints that are damaged.
        found: names of all checkpoints in the folder.
    """

    checkpoint: Path | None = None
    damaged: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


_held: dict[str, Resume] = {}
"""Run folders that this process has locked, with their start."""


def check_run(config: TrainerConfig) -> Resume:
    """Check that a run can start or resume in its folder, without writing anything.

    Raises:
        InputError: the folder belongs to another program, is in use, or cannot be written, or contains a file with the
            name of a folder.
        CheckpointError: the run cannot be resumed from its checkpoints.
    """
    run_dir = Path(config.run_dir)
    check_ownership(run_dir, PROGRAM, _REMEDY, _is_of_older_version)
    for names, is_right, kind in ((_FOLDERS, Path.is_dir, "folder"), (_FILES, Path.is_file, "file")):
        for path in (run_dir / name for name in names):
            if path.exists() and not is_right(path):
                raise InputError(f"{path} is in the way of a {kind} of that name: move it away, or {_REMEDY}")
    for path in (run_dir / name for name in _FOLDERS):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise InputError(f"{path} cannot be written to (Permission denied): allow it, or {_REMEDY}")
    if _key(config) not in _held:
        check_unlocked(run_dir, _WAIT)
    return find_resume(config)


def claim_run(run_dir: Path) -> None:
    """Mark a folder as a run folder; required before writing into it outside `hold_run`.

    Raises:
        InputError: it belongs to another program, or cannot be written.
    """
    claim_folder(run_dir, PROGRAM, _REMEDY, _is_of_older_version)


@contextmanager
def hold_run(config: TrainerConfig, known: Resume | None = None) -> Iterator[Resume]:
    """Mark and lock the run folder, and yield the start of the run; every process calls this.

    It is reentrant within a process: the command enters it first, then the trainer.

    Args:
        config: of the run.
        known: result of `check_run`; used unless another run has changed the folder since.

    Raises:
        InputError, CheckpointError: as `check_run`; in every process.
    """
    key = _key(config)
    if key in _held:
        yield _held[key]
        return
    with ExitStack() as stack:

        def take() -> Resume:
            run_dir = Path(config.run_dir)
            found = check_run(config) if known is None else known
            claim_run(run_dir)
            stack.enter_context(locked(run_dir, _WAIT))
            is_same = tuple(path.name for path in CheckpointFolder(run_dir).found()) == found.found
            return found if is_same else find_resume(config)

        _held[key] = decided_by_main(take, config)
        stack.callback(_held.pop, key)
        yield _held[key]


def find_resume(config: TrainerConfig) -> Resume:
    """Return the checkpoint to resume from, its content verified; one warning names newer ones that are damaged.

    Raises:
        CheckpointError: `resume` does not name an intact checkpoint, all checkpoints are damaged, or the run folder
            contains later steps than the named one.
    """
    folder = CheckpointFolder(Path(config.run_dir))
    found, damaged = folder.found(), dict[str, str]()
    names = tuple(path.name for path in found)
    if config.resume == "none" and found:
        raise CheckpointError(
            f"{config.run_dir} already holds checkpoints up to step {step_of(found[-1])}: "
            "continue with training.resume=latest, or choose another training.run_dir"
        )
    latest = _newest_intact(found, damaged)
    if config.resume not in ("latest", "none"):
        return Resume(_chosen(Path(config.resume), config, latest), tuple(damaged), names)
    if found and latest is None:
        newest, fault = next(iter(damaged.items()))
        raise CheckpointError(
            f"none of the {len(found)} checkpoints in {folder.path} is intact ({newest}: {fault}): move them away "
            "to start from step 0, or choose another training.run_dir"
        )
    if damaged:
        faults = "; ".join(f"{folder.path / name} is damaged: {fault}" for name, fault in damaged.items())
        logger.warning("%s; the training continues from %s", faults, latest)
    _log_unverified(latest)
    return Resume(latest, tuple(damaged), names)


def _chosen(chosen: Path, config: TrainerConfig, latest: Path | None) -> Path:
    """Return the checkpoint that `resume` names."""
    step = step_of(chosen)
    fault = damage(chosen) if chosen.is_dir() else "there is no such folder"
    if fault is not None:
        is_of_this_run = chosen.parent.resolve() == (Path(config.run_dir) / "checkpoints").resolve()
        own = latest if is_of_this_run else _newest_intact(CheckpointFolder(chosen.parent.parent).found(), {})
        remedy = "give another checkpoint with training.resume=, or start without it in another training.run_dir"
        if own is not None:
            remedy = "leave training.resume out to continue" if is_of_this_run else f"give training.resume={own}"
            remedy += f" from {own}" if is_of_this_run else ""
        raise CheckpointError(f"{chosen} is not an intact checkpoint ({fault}): {remedy}")
    if latest is not None and step_of(latest) > step:
        raise CheckpointError(
            f"{config.run_dir} already holds step {step_of(latest)}, beyond {chosen}: choose another training.run_dir"
        )
    _log_unverified(chosen)
    return chosen


def _newest_intact(found: list[Path], damaged: dict[str, str]) -> Path | None:
    """Return the newest intact checkpoint; name and fault of each newer one are added to `damaged`."""
    for path in reversed(found):
        fault = damage(path)
        if fault is None:
            return path
        damaged[path.name] = fault
    return None


def _log_unverified(checkpoint: Path | None) -> None:
    if checkpoint is not None and not has_manifest(checkpoint):
        logger.info("%s has no manifest because an older version wrote it: its files cannot be verified", checkpoint)


def _is_of_older_version(folder: Path) -> bool:
    """Return True for a run folder of an older version, which did not mark its folders."""
    has_checkpoint = any(folder.glob(f"checkpoints/step_*/{STATE_FILE}"))
    return has_checkpoint or ((folder / FILE_NAME).is_file() and (folder / CONFIG_FILE).is_file())


def _key(config: TrainerConfig) -> str:
    return f"{os.getpid()} {Path(config.run_dir).resolve()}"
