"""Command of the data pipeline with the fake steps instead of its own."""

import sys
from collections.abc import Sequence
from functools import partial
from unittest.mock import patch

import preprocess.config
from latentsync.executors import local
from latentsync.executors.local import LocalExecutor
from preprocess import pipeline
from preprocess.config import PreprocessConfig
from tests.fake_steps import CheckStep, SplitStep, StampStep, fake_steps


def run_command(arguments: Sequence[str], pause_s: float = 0.0) -> int:
    """Run the command and return its exit status; `seed` is passed to the last step as a setting."""

    def build_steps(config: PreprocessConfig) -> Sequence[CheckStep | SplitStep | StampStep]:
        return fake_steps(str(config.seed), pause_s)

    with patch.object(preprocess.config, "build_steps", build_steps), patch.object(pipeline, "NUM_STEPS", 3):
        return pipeline.main(["--steps", "1-3", "--num_workers", "2", *arguments])


def leave_with_status(arguments: Sequence[str], pause_s: float, stderr: str) -> None:
    """Run the command as the main function of a process. Standard error goes to a file; workers are forked (faster)."""
    executor = partial(LocalExecutor, start_method="fork")
    with open(stderr, "w", buffering=1) as sys.stderr, patch.object(local, "LocalExecutor", executor):
        sys.exit(run_command(arguments, pause_s))
