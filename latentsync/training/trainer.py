"""The training loop of all models."""

import itertools
import logging
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch.distributed.tensor import DTensor

from latentsync.cli import SIGNAL_EXIT_BASE
from latentsync.data.batching import StepSampler
from latentsync.errors import LatentSyncError
from latentsync.storage.atomic import atomic_write
from latentsync.training.checkpointing import CONFIG_FILE, CheckpointFolder, CheckpointSaver, Progress, read_state
from latentsync.training.completion import is_complete, used_time
from latentsync.training.interrupts import Interrupted, StopRequest, stop_requested
from latentsync.training.launch import is_main_process
from latentsync.training.metrics import MetricsLog, MetricWindow, Row, draw_charts
from latentsync.training.progress_bar import TrainingBar
from latentsync.training.run_folder import Resume, hold_run
from latentsync.training.session import TrainingSession
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_data import Batch, Collate, SizedDataset, batches
from latentsync.training.training_step import StepContext, TrainingStep, Validator
from latentsync.training.write_errors import writing

logger = logging.getLogger(__name__)

Callback = Callable[[int, dict[str, float]], str | None]
AfterStep = Callable[[Progress], bool]
"""Called after every step; returns True to end the training early."""


class NonFiniteLossError(LatentSyncError):
    """The loss or a gradient is NaN or infinite."""


@dataclass
class TrainReport:
    """Result of a training.

    Attributes:
        global_step: optimizer steps done, including those of earlier runs.
        checkpoint: the newest complete checkpoint.
        metrics: the last row of training metrics.
        validation: the last row of validation metrics.
        progress: best validation, time and skipped steps.
        signal_number: signal that ended the run early; 0: none.
        was_finished: True if all steps had been done before.
        was_ended_early: True if `after_step` ended the training.
    """

    global_step: int
    checkpoint: Path | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    signal_number: int = 0
    was_finished: bool = False
    was_ended_early: bool = False

    @property
    def exit_code(self) -> int:
        """0, or 128 + signal number after a signal."""
        return SIGNAL_EXIT_BASE + self.signal_number if self.signal_number else 0


class Trainer:
    """Train the model of a step object until `max_steps`, or until `max_minutes` are used up.

    A run that was stopped and resumed gives the same weights as an uninterrupted one, bit for bit on a CPU, unless its
    time is limited.

    Args:
        config: of the run.
        step: computes losses; its model is trained.
        dataset: map-style, indexed with `ItemKey`s; picklable if there are workers.
        collate: joins items to a batch (`latentsync.data.batching`).
        validator: called every `validate_every` steps.
        resolved_config: the whole configuration as plain data, written into the run folder and every checkpoint.
        callbacks: called in the main process with the step and each row of training metrics; a returned line is logged
            as a warning.
        after_step: called in the main process after every step; True ends the training as its last step would. An
            exception ends it without a checkpoint.
        is_shown: show a progress bar in a terminal.
        clock: returns seconds; measures the steps.
    """

    def __init__(
        self,
        config: TrainerConfig,
        step: TrainingStep,
        dataset: SizedDataset,
        collate: Collate,
        validator: Validator | None = None,
        resolved_config: Mapping[str, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        after_step: AfterStep | None = None,
        is_shown: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self.step, self.dataset, self.collate = config, step, dataset, collate
        self.validator, self.callbacks, self.after_step = validator, callbacks, after_step
        self.is_shown, self.clock = is_shown, clock
        self.resolved_config = resolved_config if resolved_config is not None else {"training": _plain(config)}
        self.run_dir = Path(config.run_dir)

    def fit(self) -> TrainReport:
        """Train to the end, from the newest checkpoint if there is one.

        Raises:
            NonFiniteLossError: a loss or gradient is not finite.
            CheckpointSaveError: a checkpoint cannot be written.
            CheckpointError: the run cannot be resumed from its checkpoints.
            ConfigError: the configuration does not fit the model or the launcher.
            InputError: the run folder belongs to another program, is in use by another run, or cannot be written.
        """
        with hold_run(self.config) as resume:
            return self._fit(resume)

    def _fit(self, start: Resume) -> TrainReport:
        resume = start.checkpoint
        if resume is not None and self._is_finished(progress := read_state(resume)):
            limit = "max_steps" if progress.global_step >= self.config.max_steps else "max_minutes"
            logger.info(
                "%s is finished: %d steps are done; raise training.%s to continue", resume, progress.global_step, limit
            )
            self._complete_last_save(CheckpointFolder(self.run_dir, start.damaged), resume, progress)
            return TrainReport(progress.global_step, resume, progress=progress, was_finished=True)
        if self.config.num_threads is not None:
            torch.set_num_threads(self.config.num_threads)
        session = TrainingSession(self.config, self.step.model)
        saver = CheckpointSaver(session, self.step, self.config, self.resolved_config, start.damaged)
        progress, rows = saver.restore(resume) if resume is not None else (Progress(), [])
        if resume is not None and session.is_main:
            logger.info("continuing from %s", resume)
        with stop_requested() as stop:
            return _Loop(self, session, saver, stop, progress, rows).run()

    def _is_finished(self, progress: Progress) -> bool:
        return is_complete(progress, self.config) and not self.must_make_up_validation(progress)

    def must_make_up_validation(self, progress: Progress) -> bool:
        """Return True if a resumed run must do the validation of its checkpoint's step."""
        return progress.is_validation_missing and self.validator is not None

    def _complete_last_save(self, folder: CheckpointFolder, checkpoint: Path, progress: Progress) -> None:
        """Complete the last save of a finished run that was killed after its checkpoint was renamed."""
        name, step = self.step.export_name, progress.global_step
        if is_main_process() and checkpoint == folder.final(step) and not folder.is_published(step, name):
            with writing(self.run_dir):
                folder.publish(step, name)
                if progress.best_step == step:
                    folder.link_best(step)
                folder.prune(self.config.keep_last, progress.best_step, step)


class _Loop:
    """State and steps of one call of `fit`."""

    def __init__(
        self,
        trainer: Trainer,
        session: TrainingSession,
        saver: CheckpointSaver,
        stop: StopRequest,
        progress: Progress,
        rows: list[Row],
    ) -> None:
        self.trainer, self.config, self.step = trainer, trainer.config, trainer.step
        self.session, self.saver, self.stop, self.progress = session, saver, stop, progress
        self.rows = rows
        self.log = self._open_log() if session.is_main else None
        self.window = MetricWindow()
        self.learning_rate = 0.0
        self.window_start = (progress.samples_seen, progress.seconds)
        self.report = TrainReport(progress.global_step, progress=progress)
        self.is_timed = (self.config.max_minutes, self.config.validate_minutes) != (None, None)
        session.used_time = used_time(progress, self.config)

    def run(self) -> TrainReport:
        config, progress = self.config, self.progress
        if self.trainer.must_make_up_validation(progress):
            self._make_up_validation()
        is_last = is_complete(progress, config)
        loader = self._loader()
        first = [] if is_last else [next(loader)]  # so that starting the workers does not count as step time
        supply = itertools.chain(first, loader)
        bar = TrainingBar(config, progress, self.trainer.is_shown and self.session.is_main)
        try:
            while not is_last and not self.report.signal_number:
                seconds_before = progress.seconds
                metrics = self._optimize(supply)
                is_last = self._must_end() or is_complete(progress, config)
                if is_last or progress.global_step % config.log_every == 0 or self.report.signal_number:
                    metrics |= self._log_training()
                bar.advance(progress, metrics)
                is_best = self._is_validation_due(is_last, seconds_before) and self._validate_or_save()
                if self._is_due(config.save_every, is_last) or is_best or is_last or self.report.signal_number:
                    self.report.checkpoint = self._save()
        finally:
            bar.close()
            loader.close()
        return self._finish()

    def _optimize(self, supply: Iterator[Batch]) -> dict[str, float]:
        """Do one optimizer step over `gradient_accumulation` batches; return the values for the progress bar."""
        start = self.trainer.clock()
        session, accelerator, progress = self.session, self.session.accelerator, self.progress
        context = StepContext(progress.global_step, self.config.max_steps, session.used_time)
        losses: list[torch.Tensor] = []
        clips: list[str] = []
        norm: torch.Tensor | None = None
        for _ in range(self.config.gradient_accumulation):
            batch = next(supply)
            clips += batch.get("clip", [])
            with accelerator.accumulate(session.model):
                result = self.step(session.model, batch, context)
                losses.append(result.loss.detach().float())
                self.window.add({"loss": losses[-1], **result.metrics})
                accelerator.backward(result.loss)
                if accelerator.sync_gradients:
                    norm = self._clip()
                    loss = self._synchronize(torch.stack(losses).mean(), norm, clips)
                session.optimizer.step()
                session.optimizer.zero_grad()
        self.learning_rate = session.schedule.get_last_lr()[0]
        self._count(norm)
        progress.seconds += self.trainer.clock() - start
        if self.is_timed:  # all processes must agree
            progress.seconds = session.from_main(progress.seconds)
        session.used_time = used_time(progress, self.config)
        self._advance_schedule()
        return {"loss": loss, "learning_rate": self.learning_rate}

    def _clip(self) -> torch.Tensor | None:
        """Clip the gradients and return their norm over all processes, or None if DeepSpeed does not report it."""
        limit = self.config.max_grad_norm or math.inf
        norm = self.session.accelerator.clip_grad_norm_(self.session.model.parameters(), limit)
        if norm is None:
            return None
        norm = torch.as_tensor(norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _synchronize(self, loss: torch.Tensor, norm: torch.Tensor | None, clips: list[str]) -> float:
        """Exchange loss, gradient norm and signal between all processes before the weights change.

        Returns:
            The mean loss.

        Raises:
            NonFiniteLossError: the loss or norm of any process is not finite; raised in every process.
        """
        accelerator = self.session.accelerator
        # A loss scaler handles gradients that overflow by itself: it skips the step and lowers its factor.
        checked = torch.zeros(()) if norm is None or accelerator.scaler is not None else norm
        own = torch.stack([loss, checked.to(loss), torch.tensor(self.stop.signal_number).to(loss)])
        everyone = cast(torch.Tensor, accelerator.gather(own.unsqueeze(0))).cpu()
        self.report.signal_number = int(everyone[:, 2].max())
        if not bool(everyone[:, :2].isfinite().all()):
            name = "loss" if not bool(everyone[:, 0].isfinite().all()) else "gradient norm"
            files = self.session.gathered([] if bool(own[:2].isfinite().all()) else clips)
            paths = ", ".join(dict.fromkeys(path for part in files for path in part)) or "unknown files"
            raise NonFiniteLossError(
                f"the {name} of step {self.progress.global_step + 1} is not finite; its batch came from {paths}; "
                f"the last good checkpoint is {self.saver.folder.latest() or 'none'}: "
                "inspect these files, or lower the learning rate"
            )
        return float(everyone[:, 0].mean())

    def _count(self, norm: torch.Tensor | None) -> None:
        session, progress = self.session, self.progress
        if session.accelerator.optimizer_step_was_skipped:
            progress.num_skipped_steps += 1
        elif session.average is not None:
            session.average.update()
        if norm is not None and bool(norm.isfinite()):
            self.window.add({"gradient_norm": norm})
        progress.global_step += 1
        progress.samples_seen += self._samples_per_batch() * self.config.gradient_accumulation
        self.report.global_step = progress.global_step

    def _advance_schedule(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns if the scaler skips the first step
            self.session.schedule.step()

    def _must_end(self) -> bool:
        """Call `after_step` in the main process; return its answer in every process."""
        if self.trainer.after_step is None:
            return False
        self.report.was_ended_early = self.session.from_main(
            self.trainer.after_step(self.progress) if self.session.is_main else None
        )
        return self.report.was_ended_early

    def _log_training(self) -> dict[str, float]:
        """Log means since the last row and call the callbacks; every process calls this."""
        progress, metrics = self.progress, self.window.take()
        samples, seconds = self.window_start
        self.window_start = (progress.samples_seen, progress.seconds)
        metrics["learning_rate"] = self.learning_rate
        metrics["samples_per_second"] = (progress.samples_seen - samples) / max(progress.seconds - seconds, 1e-9)
        metrics["seconds"] = progress.seconds
        if self.session.accelerator.scaler is not None:
            metrics["skipped_steps"] = progress.num_skipped_steps
        self.report.metrics = metrics
        if self.log is not None:
            with writing(self.trainer.run_dir):
                self.log.write("train", progress.global_step, metrics)
            logger.info("step %d: %s", progress.global_step, ", ".join(f"{k} {v:.5g}" for k, v in metrics.items()))
            for callback in self.trainer.callbacks:
                if (line := callback(progress.global_step, metrics)) is not None:
                    logger.warning("%s", line)
        return metrics

    def _validate_or_save(self) -> bool:
        """Validate; if the validator fails, save first, so that no trained step is lost (single process only)."""
        try:
            return self._validate()
        except Exception:
            if self.session.accelerator.num_processes == 1:
                self._save()
            raise

    def _save(self) -> Path:
        """Save a checkpoint; a signal that any process received meanwhile ends the run afterwards."""
        with self.stop.saving():
            checkpoint = self.saver.save(self.progress, self.rows)
            received = max(self.session.gathered(self.stop.signal_number))
        self.report.signal_number = self.report.signal_number or received
        return checkpoint

    def _validate(self) -> bool:
        """Run the validator on the main process; return True in every process if the result is the best so far."""
        validator, step = self.trainer.validator, self.progress.global_step
        self.progress.is_validation_missing = validator is not None
        if validator is None or self.report.signal_number:
            return False
        metrics: dict[str, float] | None = None
        with self.session.evaluation_model() as model:
            if model is not None:
                try:
                    with self.stop.cutting_short():
                        metrics = validator(model, self.trainer.run_dir / "validation" / f"step_{step:08d}", step)
                except Interrupted:
                    logger.warning("the validation of step %d was interrupted", step)
            metrics = self.session.from_main(metrics)
        if metrics is None:
            self.report.signal_number = self.session.from_main(self.stop.signal_number)
            return False
        self.progress.is_validation_missing = False
        self.report.validation = metrics
        if self.log is not None:
            logger.info("validation %d: %s", step, ", ".join(f"{k} {v:.5g}" for k, v in metrics.items()))
            with writing(self.trainer.run_dir):
                self.log.write("validation", step, metrics)
                draw_charts(self.rows, self.trainer.run_dir / "charts")
        return self._is_best(metrics)

    def _make_up_validation(self) -> None:
        """Validate the step of the checkpoint that the run continues from, and save the checkpoint with the result."""
        self.report.checkpoint = self.saver.folder.final(self.progress.global_step)
        self._validate()
        if not self.progress.is_validation_missing:
            self.report.checkpoint = self._save()

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        best, progress = self.config.best_metric, self.progress
        if not best.name:
            return False
        if best.name not in metrics:
            logger.warning(
                "training.best_metric.name: the validator gives no %r, only %s", best.name, ", ".join(metrics)
            )
            return False
        value, before = metrics[best.name], progress.best_value
        is_better = before is None or (value < before if best.mode == "min" else value > before)
        if is_better and math.isfinite(value):
            progress.best_value, progress.best_step = value, progress.global_step
            return True
        return False

    def _finish(self) -> TrainReport:
        report = self.report
        if self.log is not None and self.trainer.validator is None:  # else drawn after every validation
            with writing(self.trainer.run_dir):
                draw_charts(self.rows, self.trainer.run_dir / "charts")
        if self.session.is_main and report.signal_number:
            logger.warning(
                "stopped at step %d; the same command continues from %s", report.global_step, report.checkpoint
            )
        elif self.session.is_main:
            logger.info("finished: %d steps, %s", report.global_step, report.checkpoint)
        return report

    def _loader(self) -> Generator[Batch, None, None]:
        """Return the remaining batches of this process."""
        config, accelerator = self.config, self.session.accelerator
        steps_left = config.max_steps - self.progress.global_step
        sampler = StepSampler(
            len(self.trainer.dataset),
            config.batch_size,
            accelerator.num_processes,
            accelerator.process_index,
            config.seed,
            self.progress.samples_seen // self._samples_per_batch(),
            num_batches=steps_left * config.gradient_accumulation,
        )
        return batches(self.trainer.dataset, self.trainer.collate, sampler, config.num_workers, accelerator.device)

    def _samples_per_batch(self) -> int:
        return self.config.batch_size * self.session.accelerator.num_processes

    def _is_due(self, every: int, is_last: bool) -> bool:
        return every > 0 and (is_last or self.progress.global_step % every == 0)

    def _is_validation_due(self, is_last: bool, seconds_before: float) -> bool:
        """Return True after every `validate_every` steps and every `validate_minutes` minutes."""
        minutes = self.config.validate_minutes
        if minutes is None:
            return self._is_due(self.config.validate_every, is_last)
        passed = self.progress.seconds // (60 * minutes) > seconds_before // (60 * minutes)
        return is_last or passed or self._is_due(self.config.validate_every, is_last)

    def _open_log(self) -> MetricsLog:
        run_dir = self.trainer.run_dir
        with writing(run_dir):
            with atomic_write(run_dir / CONFIG_FILE) as beside:
                OmegaConf.save(OmegaConf.create(dict(self.trainer.resolved_config)), beside)
            log = MetricsLog(run_dir, self.rows)
        self.rows = log.rows
        return log


def _plain(config: TrainerConfig) -> Any:
    return OmegaConf.to_container(OmegaConf.structured(config))
