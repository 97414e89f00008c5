"""Train a SyncNet: ``./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel.yaml data.train_clips=CLIPS``."""

import sys
from collections.abc import Sequence

from latentsync.training.train_arguments import parse_training


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit status."""
    options = parse_training(
        "train_syncnet.sh", "Train a SyncNet. The same command resumes a stopped training.", arguments
    )
    from latentsync.recipes.syncnet_run import SyncNetRun  # after --help
    from latentsync.recipes.train_syncnet import build_syncnet_trainer, meta_syncnet, syncnet_checks
    from latentsync.training.train_command import run_training

    return run_training(options, SyncNetRun, build_syncnet_trainer, meta_syncnet, syncnet_checks)


if __name__ == "__main__":
    sys.exit(main())
