"""The command line both trainings share: ``--config FILE [key=value ...] [--dry_run]``."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from latentsync.config import load_config
from latentsync.errors import LatentSyncError
from latentsync.training.dry_run import describe_run
from latentsync.training.trainer import Trainer
from latentsync.training.trainer_config import TrainerConfig

EXIT_BAD_INPUT = 2


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
    arguments: Sequence[str] | None = None,
    default_config: Path | None = None,
    file_faults: Callable[[Run, nn.Module], list[str]] | None = None,
) -> int:
    """Reads the command line and trains; returns the exit status: 0, 2 for bad input, 128 + signal when stopped.

    Args:
        name: of the shell script, for the help.
        description: one line for the help.
        schema: dataclass of the root configuration.
        build_trainer: configuration and its plain copy to the trainer.
        build_empty_model: the network, its trainable parameters marked; called on the meta device for ``--dry_run``.
        arguments: instead of the command line's.
        default_config: the YAML where ``--config`` names none; without one ``--config`` is required.
        file_faults: lists what the files that a run reads lack, given the empty model; called for ``--dry_run``, which
            fails if there is any.
    """
    options = _parser(name, description, default_config).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        run = load_config(options.config, schema, options.overrides)
        resolved = asdict(run)  # type: ignore[call-overload]
        if options.dry_run:
            with torch.device("meta"):
                model = build_empty_model(run)
            sys.stdout.write(describe_run(resolved, lambda: model, run.training) + "\n")
            return _report_files([] if file_faults is None else file_faults(run, model))
        if run.training.num_threads is not None:
            torch.set_num_threads(run.training.num_threads)
        return build_trainer(run, resolved).fit().exit_code
    except LatentSyncError as error:
        if options.debug:
            raise
        sys.stderr.write(f"error: {error}\n")
        return EXIT_BAD_INPUT


def _report_files(faults: list[str]) -> int:
    """Print what a training lacks, one line each; returns the exit status of the dry run."""
    for fault in faults:
        sys.stderr.write(f"error: {fault}\n")
    return EXIT_BAD_INPUT if faults else 0


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Prints the message and leaves."""
        self.exit(EXIT_BAD_INPUT, f"error: {message} (see --help)\n")


def _parser(name: str, description: str, default_config: Path | None) -> argparse.ArgumentParser:
    parser = OneLineParser(prog=name, description=description, allow_abbrev=False)
    meant = "the YAML, e.g. of configs/" if default_config is None else "the YAML (default: %(default)s)"
    parser.add_argument("--config", type=Path, required=default_config is None, default=default_config, help=meant)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes, e.g. training.batch_size=4")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="show configuration, sizes and memory, check that the weights are here and fit, and stop",
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser
