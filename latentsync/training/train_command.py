"""Run a training, or only its checks, as its command line says (see `train_arguments`)."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from latentsync.cli import EXIT_BAD_INPUT, one_line, run_command
from latentsync.config import load_config
from latentsync.device import building_on_meta, resolve_device, resolve_mixed_precision
from latentsync.errors import LatentSyncError
from latentsync.training.dry_run import describe_run
from latentsync.training.launch import decided_by_main, is_main_process
from latentsync.training.run_folder import Resume, check_run, hold_run
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig

_WHEN_STOPPED = "the same command continues from the newest complete checkpoint"

Check = Callable[[], object]
"""Raises LatentSyncError if a file that a training reads is missing or does not fit."""


class TrainingRun(Protocol):
    """A root configuration with a section for the training loop."""

    training: TrainerConfig


Run = TypeVar("Run", bound=TrainingRun)


def run_training(
    options: argparse.Namespace,
    schema: type[Run],
    build_trainer: Callable[[Run, dict[str, Any]], Trainer],
    build_meta_model: Callable[[Run], nn.Module],
    file_checks: Callable[[Run, nn.Module], Iterable[Check]],
) -> int:
    """Train as the command line says.

    Everything that can be checked before the training is checked first, by a training and by ``--dry_run`` alike, and
    all errors are reported together.

    Args:
        options: the command line (`train_arguments.parse_training`).
        schema: dataclass of the root configuration.
        build_trainer: builds the trainer from the configuration and its plain copy.
        build_meta_model: builds the network with its trainable parameters marked; called on the meta device.
        file_checks: returns checks of the files that a training reads, given the meta model.

    Returns:
        The exit status: 0, 2 for bad input, 128 + signal number after a signal.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def work() -> int:
        run = load_config(options.config, schema, options.overrides)
        resolved, config = asdict(run), run.training  # type: ignore[call-overload]
        with building_on_meta():
            model = build_meta_model(run)
        resolve_mixed_precision(config.mixed_precision, resolve_device(config.device))

        def check() -> _CheckResult:
            return _check(config, file_checks(run, model))

        if options.dry_run:
            sys.stdout.write(describe_run(resolved, model, config) + "\n")
        result = check() if options.dry_run else decided_by_main(check, config)
        if result.errors:
            return _report(result.errors)
        if options.dry_run:
            return 0
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        with hold_run(config, result.resume):
            return build_trainer(run, resolved).fit().exit_code

    return run_command(work, options.debug, when_stopped=_WHEN_STOPPED)


@dataclass(frozen=True)
class _CheckResult:
    errors: list[str]
    resume: Resume | None


def _check(config: TrainerConfig, file_checks: Iterable[Check]) -> _CheckResult:
    """Check files and run folder without writing anything."""
    errors, resume = error_messages(file_checks), None
    try:
        resume = check_run(config)
    except LatentSyncError as error:
        errors.append(one_line(error))
    return _CheckResult(errors, resume)


def error_messages(checks: Iterable[Check]) -> list[str]:
    """Return the messages of the checks that fail, in order, without duplicates."""
    messages: list[str] = []
    for check in checks:
        try:
            check()
        except LatentSyncError as error:
            messages.append(" ".join(str(error).split()))
    return list(dict.fromkeys(messages))


def _report(errors: list[str]) -> int:
    """Print one line per error and return the exit status."""
    if is_main_process():
        for error in errors:
            sys.stderr.write(f"error: {error}\n")
    return EXIT_BAD_INPUT
