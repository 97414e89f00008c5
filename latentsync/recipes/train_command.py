"""The command line all trainings share: ``--config FILE [key=value ...] [--dry_run]``."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from latentsync.cli import EXIT_BAD_INPUT, OneLineParser, one_line, run_command
from latentsync.config import load_config
from latentsync.device import resolve_device
from latentsync.errors import LatentSyncError
from latentsync.training.agreement import decided_by_main, is_main_process
from latentsync.training.dry_run import describe_run
from latentsync.training.launch import resolve_mixed_precision
from latentsync.training.run_folder import Resume, check_run, hold_run
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig

_WHEN_STOPPED = "the same command continues from the newest whole checkpoint"


class TrainingRun(Protocol):
    """A root configuration with a section for the loop."""

    training: TrainerConfig


Run = TypeVar("Run", bound=TrainingRun)


def run_training(
    name: str,
    description: str,
    schema: type[Run],
    build_trainer: Callable[[Run, dict[str, Any]], Trainer],
    build_empty_model: Callable[[Run], nn.Module],
    file_faults: Callable[[Run, nn.Module], list[str]],
    arguments: Sequence[str] | None = None,
    default_config: Path | None = None,
) -> int:
    """Reads the command line and trains; returns the exit status: 0, 2 for bad input, 128 + signal when stopped.

    Whatever can be known before the work is checked first, all of it, by the run and by ``--dry_run`` alike.

    Args:
        name: of the shell script, for the help.
        description: one line for the help.
        schema: dataclass of the root configuration.
        build_trainer: configuration and its plain copy to the trainer.
        build_empty_model: the network, its trainable parameters marked; called on the meta device.
        file_faults: lists what the files that a run reads lack, given the empty model.
        arguments: instead of the command line's.
        default_config: the YAML where ``--config`` names none; without one ``--config`` is required.
    """
    options = _parser(name, description, default_config).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def work() -> int:
        run = load_config(options.config, schema, options.overrides)
        resolved, config = asdict(run), run.training  # type: ignore[call-overload]
        with torch.device("meta"):
            model = build_empty_model(run)
        resolve_mixed_precision(config.mixed_precision, resolve_device(config.device))
        look = partial(_look, config, partial(file_faults, run, model))
        if options.dry_run:
            sys.stdout.write(describe_run(resolved, lambda: model, config) + "\n")
        finding = look() if options.dry_run else decided_by_main(look, config)
        if finding.faults:
            return _report(finding.faults)
        if options.dry_run:
            return 0
        if config.num_threads is not None:
            torch.set_num_threads(config.num_threads)
        with hold_run(config, finding.resume):
            return build_trainer(run, resolved).fit().exit_code

    return run_command(work, options.debug, when_stopped=_WHEN_STOPPED)


@dataclass(frozen=True)
class _Finding:
    faults: list[str]
    resume: Resume | None


def _look(config: TrainerConfig, file_faults: Callable[[], list[str]]) -> _Finding:
    """All that can be known of a run before its work; writes nothing."""
    faults, resume = file_faults(), None
    try:
        resume = check_run(config)
    except LatentSyncError as error:
        faults.append(one_line(error))
    return _Finding(faults, resume)


def _report(faults: list[str]) -> int:
    """Print what a training lacks, one line each; returns the exit status."""
    if is_main_process():
        for fault in faults:
            sys.stderr.write(f"error: {fault}\n")
    return EXIT_BAD_INPUT


def _parser(name: str, description: str, default_config: Path | None) -> argparse.ArgumentParser:
    parser = OneLineParser(prog=name, description=description, allow_abbrev=False)
    meant = "the YAML, e.g. of configs/" if default_config is None else "the YAML (default: %(default)s)"
    parser.add_argument("--config", type=Path, required=default_config is None, default=default_config, help=meant)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes, e.g. training.batch_size=4")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="show configuration, sizes and memory, check what a run checks before its work, write nothing, and stop",
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser
