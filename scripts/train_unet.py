"""Train the lip-sync U-Net: ``./train_unet.sh --config configs/unet/stage2.yaml data.train_clips=CLIPS``."""

import sys

from latentsync.training.train_arguments import parse_training


def main() -> int:
    """Train as the command line says; return the exit status."""
    options = parse_training("train_unet.sh", "Train the lip-sync U-Net. The same command resumes a stopped training.")
    from latentsync.recipes.train_unet import build_unet_trainer, meta_unet, unet_checks  # after --help
    from latentsync.recipes.unet_run import UNetRun
    from latentsync.training.train_command import run_training

    return run_training(options, UNetRun, build_unet_trainer, meta_unet, unet_checks)


if __name__ == "__main__":
    sys.exit(main())
