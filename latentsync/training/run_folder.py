"""The folder of a run: whose it is, that nobody else trains in it, and from which checkpoint the training continues."""

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
    """Where a run begins.

    Attributes:
        checkpoint: whole, to continue from; None: the run starts anew.
        damaged: names of newer checkpoints that are damaged.
        found: names of all checkpoints that were looked at.
    """

    checkpoint: Path | None = None
    damaged: tuple[str, ...] = ()
    found: tuple[str, ...] = ()


_held: dict[str, Resume] = {}
"""Run folders that this process has locked."""


def check_run(config: TrainerConfig) -> Resume:
    """Looks whether a run can begin or continue in its folder, and where; writes nothing.

    Raises:
        InputError: the folder is somebody else's, in use, or cannot be written; something is in the way.
        CheckpointError: the run cannot be continued from what is there.
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
    """Makes a folder the run folder of trainings; whoever writes there before `hold_run` calls this first.

    Raises:
        InputError: it is somebody else's, or cannot be written.
    """
    claim_folder(run_dir, PROGRAM, _REMEDY, _is_of_older_version)


@contextmanager
def hold_run(config: TrainerConfig, known: Resume | None = None) -> Iterator[Resume]:
    """Makes the run folder ours and keeps other runs out of it; gives where the run begins. Every process calls this.

    Within this process it may be entered again, as the trainer does after the command has.

    Args:
        config: of the run.
        known: what `check_run` found; used unless another run has changed the folder since.

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
    """The checkpoint a run continues from, its content verified; one warning names newer ones that are damaged.

    Raises:
        CheckpointError: `resume` names something else than a whole checkpoint, all are damaged, or the run folder holds
            another future.
    """
    folder = CheckpointFolder(Path(config.run_dir))
    found, damaged = folder.found(), dict[str, str]()
    names = tuple(path.name for path in found)
    if config.resume == "none" and found:
        raise CheckpointError(
            f"{config.run_dir} already holds checkpoints up to step {step_of(found[-1])}: "
            "continue with training.resume=latest, or choose another training.run_dir"
        )
    latest = _newest_whole(found, damaged)
    if config.resume not in ("latest", "none"):
        return Resume(_chosen(Path(config.resume), config, latest), tuple(damaged), names)
    if found and latest is None:
        newest, fault = next(iter(damaged.items()))
        raise CheckpointError(
            f"none of the {len(found)} checkpoints in {folder.path} is whole ({newest}: {fault}): move them away "
            "to start anew, or choose another training.run_dir"
        )
    if damaged:
        faults = "; ".join(f"{folder.path / name} is damaged: {fault}" for name, fault in damaged.items())
        logger.warning("%s; the training continues from %s", faults, latest)
    _tell_unverified(latest)
    return Resume(latest, tuple(damaged), names)


def _chosen(chosen: Path, config: TrainerConfig, latest: Path | None) -> Path:
    """The checkpoint that `resume` names."""
    step = step_of(chosen)
    fault = damage(chosen) if chosen.is_dir() else "there is no such folder"
    if fault is not None:
        is_of_this_run = chosen.parent.resolve() == (Path(config.run_dir) / "checkpoints").resolve()
        own = latest if is_of_this_run else _newest_whole(CheckpointFolder(chosen.parent.parent).found(), {})
        remedy = "give another checkpoint with training.resume=, or start anew without it in another training.run_dir"
        if own is not None:
            remedy = "leave training.resume out to continue" if is_of_this_run else f"give training.resume={own}"
            remedy += f" from {own}" if is_of_this_run else ""
        raise CheckpointError(f"{chosen} is no whole checkpoint ({fault}): {remedy}")
    if latest is not None and step_of(latest) > step:
        raise CheckpointError(
            f"{config.run_dir} already holds step {step_of(latest)}, beyond {chosen}: choose another training.run_dir"
        )
    _tell_unverified(chosen)
    return chosen


def _newest_whole(found: list[Path], damaged: dict[str, str]) -> Path | None:
    """The newest whole one of some checkpoints; `damaged` gets the name and fault of each newer one."""
    for path in reversed(found):
        fault = damage(path)
        if fault is None:
            return path
        damaged[path.name] = fault
    return None


def _tell_unverified(checkpoint: Path | None) -> None:
    if checkpoint is not None and not has_manifest(checkpoint):
        logger.info("%s has no manifest, it is of an older version: its files cannot be verified", checkpoint)


def _is_of_older_version(folder: Path) -> bool:
    """Whether a training made the folder before folders were marked."""
    has_checkpoint = any(folder.glob(f"checkpoints/step_*/{STATE_FILE}"))
    return has_checkpoint or ((folder / FILE_NAME).is_file() and (folder / CONFIG_FILE).is_file())


def _key(config: TrainerConfig) -> str:
    return f"{os.getpid()} {Path(config.run_dir).resolve()}"
