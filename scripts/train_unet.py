"""Train the lip-sync U-Net: ``./train_unet.sh --config configs/unet/stage2.yaml data.train_clips=CLIPS``."""

import sys

from latentsync.recipes.train_unet import build_unet_trainer, meta_unet, unet_checks
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.train_command import run_training


def main() -> int:
    """Train as the command line says; return the exit status."""
    return run_training(
        name="train_unet.sh",
        description="Train the lip-sync U-Net. The same command resumes a stopped training.",
        schema=UNetRun,
        build_trainer=build_unet_trainer,
        build_meta_model=meta_unet,
        file_checks=unet_checks,
    )


if __name__ == "__main__":
    sys.exit(main())
