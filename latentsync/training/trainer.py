"""The training loop, once for all models."""

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
from tqdm import tqdm

from latentsync.cli import SIGNAL_EXIT_BASE
from latentsync.data.batching import StepSampler
from latentsync.storage.atomic import atomic_write
from latentsync.training.checkpointing import CONFIG_FILE, CheckpointFolder, CheckpointSaver, Progress, read_state
from latentsync.training.interrupts import Interrupted, StopRequest, stop_requested
from latentsync.training.launch import is_main_process
from latentsync.training.metrics import MetricsLog, MetricWindow, Row, draw_charts
from latentsync.training.run_folder import Resume, hold_run
from latentsync.training.session import TrainingSession
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.training_data import Batch, Collate, SizedDataset, batches
from latentsync.training.training_step import StepContext, TrainingStep, Validator
from latentsync.training.write_errors import NonFiniteLossError, writing

logger = logging.getLogger(__name__)

Callback = Callable[[int, dict[str, float]], str | None]


@dataclass
class TrainReport:
    """What a training did.

    Attributes:
        global_step: optimizer steps done, those of earlier runs included.
        checkpoint: the newest complete one.
        metrics: the last row of training metrics.
        validation: the last row of validation figures.
        progress: best validation, time and skipped steps.
        signal_number: of the signal that ended the run early; 0: none did.
        was_finished: whether there was nothing left to do.
    """

    global_step: int
    checkpoint: Path | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    signal_number: int = 0
    was_finished: bool = False

    @property
    def exit_code(self) -> int:
        """0, or 128 + signal number after a signal."""
        return SIGNAL_EXIT_BASE + self.signal_number if self.signal_number else 0


class Trainer:
    """Trains a model by a step object until `max_steps`; stops and resumes exactly.

    Args:
        config: of the run.
        step: makes losses; its model trains.
        dataset: map-style, of `ItemKey`s; with workers it is pickled.
        collate: puts items into a batch (`latentsync.data.batching`).
        validator: judges the weights every `validate_every` steps.
        resolved_config: the whole configuration as plain data, written into the run folder and every checkpoint.
        callbacks: called on the main process with the step and each row of training metrics; a line that comes back
            is logged as a warning.
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
    ) -> None:
        self.config, self.step, self.dataset, self.collate = config, step, dataset, collate
        self.validator, self.callbacks = validator, callbacks
        self.resolved_config = resolved_config if resolved_config is not None else {"training": _plain(config)}
        self.run_dir = Path(config.run_dir)

    def fit(self) -> TrainReport:
        """Trains, or continues, to the end.

        Raises:
            NonFiniteLossError: a loss or gradient is not finite.
            CheckpointSaveError: a checkpoint cannot be written.
            CheckpointError: the run cannot be continued from what is there.
            ConfigError: the configuration does not go with the model or the launcher.
            InputError: the run folder is somebody else's, in use by another run, or cannot be written.
        """
        with hold_run(self.config) as resume:
            return self._fit(resume)

    def _fit(self, start: Resume) -> TrainReport:
        resume = start.checkpoint
        if resume is not None and (progress := read_state(resume)).global_step >= self.config.max_steps:
            logger.info(
                "%s is finished: %d steps are done; raise training.max_steps to go on", resume, progress.global_step
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

    def _complete_last_save(self, folder: CheckpointFolder, checkpoint: Path, progress: Progress) -> None:
        """Does what was left undone when the last save of a finished run was cut off behind its checkpoint."""
        name, step = self.step.export_name, progress.global_step
        if is_main_process() and checkpoint == folder.final(step) and not folder.is_published(step, name):
            with writing(self.run_dir):
                folder.publish(step, name)
                if progress.best_step == step:
                    folder.link_best(step)
                folder.prune(self.config.keep_last, progress.best_step, step)


class _Loop:
    """One call of `fit`: what happens at every step, and the state it happens to."""

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

    def run(self) -> TrainReport:
        config, progress = self.config, self.progress
        loader = self._loader()
        first = next(loader)  # starting the workers is not part of any step
        supply = itertools.chain([first], loader)
        bar = tqdm(
            total=config.max_steps,
            initial=progress.global_step,
            unit="step",
            disable=None if self.session.is_main else True,
        )
        try:
            while progress.global_step < config.max_steps and not self.report.signal_number:
                figures = self._optimize(supply)
                is_last = progress.global_step == config.max_steps
                if is_last or progress.global_step % config.log_every == 0 or self.report.signal_number:
                    figures |= self._log_training()
                bar.set_postfix(_bar_figures(figures), refresh=False)
                bar.update()
                is_best = self._is_due(config.validate_every, is_last) and self._validate_or_save()
                if self._is_due(config.save_every, is_last) or is_best or is_last or self.report.signal_number:
                    self.report.checkpoint = self._save()
        finally:
            bar.close()
            loader.close()
        return self._finish()

    def _optimize(self, supply: Iterator[Batch]) -> dict[str, float]:
        """One optimizer step over `gradient_accumulation` batches; returns the figures of the progress bar."""
        start = time.perf_counter()
        session, accelerator, progress = self.session, self.session.accelerator, self.progress
        context = StepContext(progress.global_step, self.config.max_steps)
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
                    loss = self._agree(torch.stack(losses).mean(), norm, clips)
                session.optimizer.step()
                session.optimizer.zero_grad()
        self.learning_rate = session.schedule.get_last_lr()[0]
        self._count(norm)
        progress.seconds += time.perf_counter() - start
        return {"loss": loss, "learning_rate": self.learning_rate}

    def _clip(self) -> torch.Tensor | None:
        """Scales the gradients down; returns their norm over all processes, None where DeepSpeed does not tell it."""
        limit = self.config.max_grad_norm or math.inf
        norm = self.session.accelerator.clip_grad_norm_(self.session.model.parameters(), limit)
        if norm is None:
            return None
        norm = torch.as_tensor(norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _agree(self, loss: torch.Tensor, norm: torch.Tensor | None, clips: list[str]) -> float:
        """All processes look at each other's loss and signal before the weights move.

        Returns:
            The mean loss.

        Raises:
            NonFiniteLossError: in every process, when any process has a loss that is not finite.
        """
        accelerator = self.session.accelerator
        # Where a scaler is at work it looks after the gradients itself: it skips the step and lowers its factor.
        judged = torch.zeros(()) if norm is None or accelerator.scaler is not None else norm
        own = torch.stack([loss, judged.to(loss), torch.tensor(self.stop.signal_number).to(loss)])
        everyone = cast(torch.Tensor, accelerator.gather(own.unsqueeze(0))).cpu()
        self.report.signal_number = int(everyone[:, 2].max())
        if not bool(everyone[:, :2].isfinite().all()):
            what = "loss" if not bool(everyone[:, 0].isfinite().all()) else "gradient norm"
            files = self.session.gathered([] if bool(own[:2].isfinite().all()) else clips)
            names = ", ".join(dict.fromkeys(name for part in files for name in part)) or "unknown files"
            raise NonFiniteLossError(
                f"the {what} of step {self.progress.global_step + 1} is not finite; its batch came from {names}; "
                f"the last good checkpoint is {self.saver.folder.latest() or 'none'}: "
                "look at these files, or lower the learning rate"
            )
        return float(everyone[:, 0].mean())

    def _count(self, norm: torch.Tensor | None) -> None:
        session, progress = self.session, self.progress
        if session.accelerator.optimizer_step_was_skipped:
            progress.num_skipped_steps += 1
        elif session.average is not None:
            session.average.update()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's, when the scaler skips the very first step
            session.schedule.step()
        if norm is not None and bool(norm.isfinite()):
            self.window.add({"gradient_norm": norm})
        progress.global_step += 1
        progress.samples_seen += self._samples_per_batch() * self.config.gradient_accumulation
        self.report.global_step = progress.global_step

    def _log_training(self) -> dict[str, float]:
        """Writes a row of means since the last one and tells the callbacks; every process calls this."""
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
        """Validates; a validator that fails costs no trained step where one process can save by itself."""
        try:
            return self._validate()
        except Exception:
            if self.session.accelerator.num_processes == 1:
                self._save()
            raise

    def _save(self) -> Path:
        """Saves a checkpoint; a signal that any process received meanwhile ends the run after it."""
        with self.stop.saving():
            checkpoint = self.saver.save(self.progress, self.rows)
            received = max(self.session.gathered(self.stop.signal_number))
        self.report.signal_number = self.report.signal_number or received
        return checkpoint

    def _validate(self) -> bool:
        """Runs the validator on the main process; returns in every process whether this is the best so far."""
        validator, step = self.trainer.validator, self.progress.global_step
        if validator is None or self.report.signal_number:
            return False
        figures: dict[str, float] | None = None
        with self.session.evaluation_model() as model:
            if model is not None:
                try:
                    with self.stop.cutting_short():
                        figures = validator(model, self.trainer.run_dir / "validation" / f"step_{step:08d}", step)
                except Interrupted:
                    logger.warning("the validation of step %d is cut short", step)
            figures = self.session.from_main(figures)
        if figures is None:
            self.report.signal_number = self.session.from_main(self.stop.signal_number)
            return False
        self.report.validation = figures
        if self.log is not None:
            logger.info("validation %d: %s", step, ", ".join(f"{k} {v:.5g}" for k, v in figures.items()))
            with writing(self.trainer.run_dir):
                self.log.write("validation", step, figures)
                draw_charts(self.rows, self.trainer.run_dir / "charts")
        return self._is_best(figures)

    def _is_best(self, figures: Mapping[str, float]) -> bool:
        best, progress = self.config.best_metric, self.progress
        if not best.name:
            return False
        if best.name not in figures:
            logger.warning(
                "training.best_metric.name: the validator gives no %r, only %s", best.name, ", ".join(figures)
            )
            return False
        value, before = figures[best.name], progress.best_value
        is_better = before is None or (value < before if best.mode == "min" else value > before)
        if is_better and math.isfinite(value):
            progress.best_value, progress.best_step = value, progress.global_step
            return True
        return False

    def _finish(self) -> TrainReport:
        report = self.report
        if self.session.is_main and report.signal_number:
            logger.warning(
                "stopped at step %d; the same command goes on from %s", report.global_step, report.checkpoint
            )
        elif self.session.is_main:
            logger.info("finished: %d steps, %s", report.global_step, report.checkpoint)
        return report

    def _loader(self) -> Generator[Batch, None, None]:
        """This process' batches from where the run stands."""
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

    def _open_log(self) -> MetricsLog:
        run_dir = self.trainer.run_dir
        with writing(run_dir):
            with atomic_write(run_dir / CONFIG_FILE) as beside:
                OmegaConf.save(OmegaConf.create(dict(self.trainer.resolved_config)), beside)
            log = MetricsLog(run_dir, self.rows)
        self.rows = log.rows
        return log


def _bar_figures(figures: Mapping[str, float]) -> dict[str, str]:
    names = {"loss": "loss", "learning_rate": "rate", "samples_per_second": "samples/s"}
    return {short: f"{figures[name]:.4g}" for name, short in names.items() if name in figures}


def _plain(config: TrainerConfig) -> Any:
    return OmegaConf.to_container(OmegaConf.structured(config))
