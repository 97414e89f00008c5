"""Trains a SyncNet: ``./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel.yaml data.train_clips=CLIPS``."""

import sys
from collections.abc import Sequence

from latentsync.recipes.file_checks import syncnet_file_faults
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.syncnet_shapes import empty_syncnet
from latentsync.recipes.train_command import run_training
from latentsync.recipes.train_syncnet import build_syncnet_trainer


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains as the command line says."""
    return run_training(
        name="train_syncnet.sh",
        description="Trains a SyncNet. The same command again goes on where the last run stopped.",
        schema=SyncNetRun,
        build_trainer=build_syncnet_trainer,
        build_empty_model=empty_syncnet,
        file_faults=syncnet_file_faults,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
