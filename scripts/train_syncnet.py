"""Train a SyncNet: ``./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel.yaml data.train_clips=CLIPS``."""

import sys
from collections.abc import Sequence

from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.train_syncnet import build_syncnet_trainer, meta_syncnet, syncnet_checks
from latentsync.training.train_command import run_training


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit status."""
    return run_training(
        name="train_syncnet.sh",
        description="Train a SyncNet. The same command resumes a stopped training.",
        schema=SyncNetRun,
        build_trainer=build_syncnet_trainer,
        build_meta_model=meta_syncnet,
        file_checks=syncnet_checks,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
