"""Arguments of all trainings: ``--config FILE [key=value ...] [--dry_run]``; parsed before anything imports torch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from latentsync.cli import OneLineParser


def parse_training(
    name: str, description: str, arguments: Sequence[str] | None = None, default_config: Path | None = None
) -> argparse.Namespace:
    """Parse the command line of a training; `train_command.run_training` takes the result.

    Args:
        name: name of the shell script, for the help.
        description: one line for the help.
        arguments: command line; None: that of the process.
        default_config: YAML to use without ``--config``; None: ``--config`` is required.
    """
    parser = OneLineParser(prog=name, description=description, allow_abbrev=False)
    config_help = "YAML, such as one of configs/" if default_config is None else "YAML (default: %(default)s)"
    parser.add_argument(
        "--config", type=Path, required=default_config is None, default=default_config, help=config_help
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes, e.g. training.batch_size=4")
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="show configuration, sizes and memory, make all checks of a training, write nothing, and stop",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_intermixed_args(arguments)
