"""Saves and finds the checkpoints of a run, all processes together."""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from yaml import YAMLError

from latentsync.cli import one_line
from latentsync.training.checkpointing import (
    CONFIG_FILE,
    CheckpointFolder,
    Progress,
    differing_keys,
    read_state,
    write_state,
)
from latentsync.training.failures import CheckpointSaveError, write_remedy
from latentsync.training.metrics_log import FILE_NAME, Row, history, read_rows, write_rows
from latentsync.training.session import TrainingSession
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_step import TrainingStep

logger = logging.getLogger(__name__)

_PLACE_IN_TORCH = re.compile(r"^\[enforce fail at [^\]]*\][ .]*")

# Keys whose value may change between a stop and a resume without changing what is trained.
_HARMLESS_KEYS = {
    "run_dir", "resume", "max_steps", "num_workers", "num_threads", "device", "log_every", "validate_every",
    "save_every", "keep_last",
}  # fmt: skip


class CheckpointSaver:
    """Writes checkpoints in stages; a failure in one process ends the run in all of them.

    Args:
        session: what is saved.
        step: knows the published format.
        config: of the run.
        resolved_config: the whole configuration, saved with every checkpoint.
        damaged: names of checkpoints of the run folder that are damaged.
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
        """Saves a checkpoint, exports the weights beside metrics.jsonl, removes old ones; every process calls this.

        Raises:
            CheckpointSaveError: the disk is full, or a file cannot be written for another reason.
        """
        step = progress.global_step
        partial = self.folder.partial(step)
        self._stage(step, lambda: self._begin(partial))
        self._stage(step, lambda: self._write(partial, progress, rows))
        self._stage(step, lambda: self._finish(progress))
        return self.folder.final(step)

    def restore(self, folder: Path) -> tuple[Progress, list[Row]]:
        """Continues from a checkpoint: loads it and returns how far it was and its metrics; every process calls this.

        Raises:
            CheckpointError: it cannot be read, or does not fit the configuration.
        """
        remedy = "move this folder away to continue from the one before"
        if self._config.resume != "latest":
            remedy = "give another with training.resume="
        if self._session.is_main:
            self._tell_differences(folder)
        self._session.read(folder, remedy)
        return read_state(folder), read_rows(folder / FILE_NAME)

    def _tell_differences(self, folder: Path) -> None:
        try:
            saved = OmegaConf.to_container(OmegaConf.load(folder / CONFIG_FILE))
        except (OSError, ValueError, YAMLError, OmegaConfBaseException):
            saved = None
        if not isinstance(saved, dict):
            logger.warning("%s cannot be read: whether the configuration differs is unknown", folder / CONFIG_FILE)
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
        said = None if failure is None else (_first_line(failure), write_remedy(failure, self.folder.run_dir))
        reasons = [reason for reason in self._session.gathered(said) if reason is not None]
        if reasons:
            what, remedy = reasons[0]
            if self._session.is_main:
                shutil.rmtree(self.folder.partial(step), ignore_errors=True)
            last = self.folder.latest()
            raise CheckpointSaveError(
                f"cannot save step {step} in {self.folder.path}: {what}: {remedy}, "
                f"then run the same command again; the last complete checkpoint is {last or 'none'}"
            ) from failure


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError):
        return one_line(error)
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _PLACE_IN_TORCH.sub("", line)
