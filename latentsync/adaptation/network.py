"""The network that an adaptation trains: all weights, or low-rank changes of frozen ones (LoRA)."""

from dataclasses import replace

import torch

from latentsync.device import frozen_dtype, resolve_mixed_precision
from latentsync.losses.loss_stack import LossStack
from latentsync.models.lora import LoraUNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.train_unet import initial_unet
from latentsync.training.lora_step import LoraStep
from latentsync.training.optimizers import select_trainable
from latentsync.training.trainer_config import TrainerConfig
from latentsync.training.unet_step import UNetStep
from latentsync.weights import locate_initial


def adaptation_step(run: AdaptationRun, codec: LatentCodec, losses: LossStack, device: torch.device) -> UNetStep:
    """Load the initial weights and return the training step.

    Raises:
        ConfigError: no weight is selected for training.
        CheckpointError: the initial weights do not fit the configuration.
    """
    unet, training = initial_unet(run), run.training
    arguments = (codec, losses, run.diffusion, run.data.resolution, training.gradient_checkpointing)
    if run.adaptation.lora.rank is None:
        _select(unet, run)
        return UNetStep(unet, *arguments)
    network = add_lora(unet, run, base_dtype(run, device))
    return LoraStep(network, run.adaptation.lora, locate_initial(str(run.initial)), *arguments)


def add_lora(unet: UNet3DConditionModel, run: AdaptationRun, dtype: torch.dtype) -> LoraUNet:
    """Return the U-Net, frozen in `dtype`, with the low-rank changes of the configuration, which start at zero."""
    torch.manual_seed(run.training.seed)
    return LoraUNet(unet, run.adaptation.lora, dtype, run.adaptation.frozen)


def base_dtype(run: AdaptationRun, device: torch.device) -> torch.dtype:
    """Return the format of frozen networks on this device, such as the VAE and the weights that LoRA changes."""
    return frozen_dtype(resolve_mixed_precision(run.training.mixed_precision, device))


def training_config(run: AdaptationRun, device: torch.device) -> TrainerConfig:
    """Return the configuration of the training loop on a device, without folder and number of steps.

    A frozen U-Net in half precision computes in its own format, and the low-rank changes in float32: autocast is off.
    """
    config = replace(run.training, device=str(device))
    is_half = run.adaptation.lora.rank is not None and base_dtype(run, device) != torch.float32
    return replace(config, mixed_precision="no") if is_half else config


def _select(unet: UNet3DConditionModel, run: AdaptationRun) -> None:
    select_trainable(unet, run.trainable)
    for name, weight in unet.named_parameters():
        if any(part in name for part in run.adaptation.frozen):
            weight.requires_grad_(False)
