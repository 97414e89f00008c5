"""Command-line arguments of the executors."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.errors import InputError

if TYPE_CHECKING:  # these import torch, which --help does without
    from latentsync.executors.base import Executor

LOCAL, RAY = "local", "ray"


@dataclass(frozen=True)
class ExecutorArguments:
    """The arguments of one command: ``--executor``, ``--ray_address``, workers and limits.

    Attributes:
        task: what a worker handles at a time, such as ``job``; names the option of the time limit.
        workers_option: option of the number of workers.
        default: executor without ``--executor``; None: the command does its work in its own process.
        timeout_s: default time limit of a task; None: no limit.
    """

    task: str
    workers_option: str = "--workers"
    default: str | None = None
    timeout_s: float | None = None

    @property
    def timeout_option(self) -> str:
        """Option of the time limit."""
        return f"--{self.task}_timeout_s"

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments to a parser."""
        add = parser.add_argument_group("workers").add_argument
        alone = "" if self.default else " (default: this process alone)"
        add(
            "--executor",
            choices=(LOCAL, RAY),
            default=self.default,
            help=f"worker processes of this machine, or a Ray cluster{alone}",
        )
        add("--ray_address", help="address of the cluster (default: the one Ray finds)")
        add(
            self.workers_option,
            type=positive_integer,
            dest="num_workers",
            metavar="N",
            help="default: one per GPU, or see docs/scale.md",
        )
        limit = "none" if self.timeout_s is None else f"{self.timeout_s:g}"
        add(
            self.timeout_option,
            type=positive_number,
            default=self.timeout_s,
            dest="timeout_s",
            metavar="S",
            help=f"time limit per {self.task} (default: {limit})",
        )
        add(
            "--memory_limit_gb",
            type=positive_number,
            metavar="G",
            help=f"memory limit per {self.task} in GiB (default: none)",
        )

    def build(self, arguments: argparse.Namespace, log_folder: Path | None = None) -> Executor | None:
        """Return the chosen executor, or None if none was chosen.

        Args:
            arguments: the command line.
            log_folder: see `LocalExecutor`.

        Raises:
            InputError: other arguments need an executor or contradict it, or Ray is not installed.
        """
        if arguments.executor is None:
            self._check_unused(arguments)
            return None
        if ":" in getattr(arguments, "device", ""):
            raise InputError(
                f"--device {arguments.device} names one device, but workers take all: leave the number out, or choose "
                "cards with CUDA_VISIBLE_DEVICES"
            )
        from latentsync.executors.base import Limits

        limits = Limits(arguments.timeout_s, arguments.memory_limit_gb, self.timeout_option)
        if arguments.executor == LOCAL:
            from latentsync.executors.local import LocalExecutor

            return LocalExecutor(log_folder, arguments.num_workers, limits)
        from latentsync.executors.ray_executor import RayExecutor, import_ray

        import_ray()  # Ray is an optional extra: fail now, not at the first task
        return RayExecutor(log_folder, arguments.ray_address, arguments.num_workers, limits)

    def _check_unused(self, arguments: argparse.Namespace) -> None:
        given = {
            self.workers_option: arguments.num_workers,
            self.timeout_option: arguments.timeout_s,
            "--memory_limit_gb": arguments.memory_limit_gb,
            "--ray_address": arguments.ray_address,
        }
        for option, value in given.items():
            if value is not None:
                raise InputError(f"{option} is for workers: add --executor {LOCAL} or {RAY}, or leave it out")


def positive_integer(text: str) -> int:
    """Parse a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value
