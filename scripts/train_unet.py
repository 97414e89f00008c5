"""Trains the lip-sync U-Net: ``./train_unet.sh --config configs/unet/stage2.yaml data.train_clips=CLIPS``."""

import sys

from torch import nn

from latentsync.models.unet import UNet3DConditionModel
from latentsync.recipes.file_checks import unet_file_faults
from latentsync.recipes.train_command import run_training
from latentsync.recipes.train_unet import build_unet_trainer
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.trainable import select_trainable


def main() -> int:
    """Trains as the command line says."""
    return run_training(
        name="train_unet.sh",
        description="Trains the lip-sync U-Net. The same command again goes on where the last run stopped.",
        schema=UNetRun,
        build_trainer=build_unet_trainer,
        build_empty_model=_empty_model,
        file_faults=unet_file_faults,
    )


def _empty_model(run: UNetRun) -> nn.Module:
    unet = UNet3DConditionModel.from_unet_config(run.model)
    select_trainable(unet, run.trainable)
    return unet


if __name__ == "__main__":
    sys.exit(main())
