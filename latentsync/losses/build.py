"""Build the loss terms of a configuration with their frozen networks; terms of weight 0 load no files."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from latentsync.errors import ConfigError
from latentsync.judges.perceptual_distance import VaeEncoderDistance, load_vgg_lpips
from latentsync.judges.videomae import load_published_videomae, load_small_videomae
from latentsync.losses.epsilon_loss import EpsilonLoss
from latentsync.losses.feature_losses import PerceptualDistance, PerceptualLoss, TrepaLoss
from latentsync.losses.latent_loss import LatentLoss
from latentsync.losses.loss_config import (
    VIDEOMAE_V2,
    LossesConfig,
    PerceptualLossConfig,
    SyncLossConfig,
    TrepaLossConfig,
)
from latentsync.losses.loss_stack import LossStack, LossTerm
from latentsync.losses.sync_loss import SyncLoss
from latentsync.models.checkpoint import check_syncnet, load_syncnet
from latentsync.models.stable_syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.syncnet_input import SyncNetInput, read_syncnet_config
from latentsync.models.vae import LatentCodec
from latentsync.weights import REPOSITORY_ROOT, locate

VGG16_FILE = "checkpoints/auxiliary/vgg16-397923af.pth"
VIDEOMAE_FILE = "checkpoints/auxiliary/vit_g_hybrid_pt_1200e_ssv2_ft.pth"


def build_losses(
    config: LossesConfig,
    codec: LatentCodec | None,
    device: torch.device | str,
    dtype: torch.dtype,
    resolution: int,
    num_frames: int = 16,
    root: Path = REPOSITORY_ROOT,
    recompute: bool = False,
) -> LossStack:
    """Build every term whose weight is above 0.

    Args:
        config: settings of the terms.
        codec: the VAE; may be None if no term needs pixels.
        device: device of the frozen networks.
        dtype: format of the SyncNet and the VideoMAE: float32 or bfloat16 (`latentsync.device.frozen_dtype`). The
            perceptual distance and the losses themselves are computed in float32.
        resolution: side of the face crop in pixels.
        num_frames: frames per window.
        root: base folder of relative paths.
        recompute: recompute the VideoMAE's activations in the backward pass, to save memory.

    Raises:
        CheckpointError: a file of weights is missing or damaged; the message says how to get it.
        ConfigError: a frozen network does not fit the windows.
        ValueError: a term needs a codec, and none is given.
    """
    terms: list[LossTerm] = []
    if config.epsilon.weight > 0:
        epsilon = config.epsilon
        terms.append(EpsilonLoss(epsilon.weight, resolution, epsilon.mouth_emphasis, epsilon.high_noise_emphasis))
    if config.latent.weight > 0:
        latent = config.latent
        terms.append(LatentLoss(latent.weight, resolution, latent.huber_delta, latent.mouth_emphasis))
    if config.sync.weight > 0:
        terms.append(_build_sync_loss(config.sync, device, dtype, num_frames, root))
    if config.perceptual.weight > 0:
        terms.append(_build_perceptual_loss(config.perceptual, codec, device, root))
    if config.trepa.weight > 0:
        terms.append(_build_trepa_loss(config.trepa, device, dtype, num_frames, root, recompute))
    stack = LossStack(terms)
    if stack.needs_pixels and codec is None:
        raise ValueError("these losses need pixels, so build_losses needs a codec")
    return stack


def loss_checks(
    config: LossesConfig, num_frames: int = 16, root: Path = REPOSITORY_ROOT
) -> Iterator[Callable[[], object]]:
    """Yield checks of the files that `build_losses` reads, without loading them.

    Each raises CheckpointError or ConfigError.
    """
    if config.sync.weight > 0:
        yield partial(_check_syncnet_file, config.sync, num_frames, root)
    if config.perceptual.weight > 0 and config.perceptual.network == "vgg16":
        yield partial(locate, VGG16_FILE, root)
    if config.trepa.weight > 0:
        yield partial(locate, VIDEOMAE_FILE if config.trepa.network == VIDEOMAE_V2 else config.trepa.network, root)


def _check_syncnet_file(config: SyncLossConfig, num_frames: int, root: Path) -> None:
    model, _ = _read_sync_input(config, num_frames, root)
    checkpoint = locate(config.checkpoint, root)
    with torch.device("meta"):
        check_syncnet(StableSyncNet(model), checkpoint)


def _build_sync_loss(
    config: SyncLossConfig, device: torch.device | str, dtype: torch.dtype, num_frames: int, root: Path
) -> SyncLoss:
    model, syncnet_input = _read_sync_input(config, num_frames, root)
    syncnet = load_syncnet(model, locate(config.checkpoint, root), device, dtype)
    return SyncLoss(config.weight, syncnet, syncnet_input, config.antialias)


def _read_sync_input(config: SyncLossConfig, num_frames: int, root: Path) -> tuple[SyncNetConfig, SyncNetInput]:
    """Read the SyncNet's configuration and check that its input fits the U-Net's windows."""
    model, syncnet_input = read_syncnet_config(root / config.config)
    if syncnet_input.latent_space != (config.space == "latent"):
        space = "latents" if syncnet_input.latent_space else "pixels"
        raise ConfigError(f"losses.sync.space is {config.space!r}, but the SyncNet of {config.config} takes {space}")
    if syncnet_input.num_frames != num_frames:
        raise ConfigError(
            f"the SyncNet of {config.config} takes {syncnet_input.num_frames} frames, a window has {num_frames}: "
            "name another in losses.sync.config"
        )
    return model, syncnet_input


def _build_perceptual_loss(
    config: PerceptualLossConfig, codec: LatentCodec | None, device: torch.device | str, root: Path
) -> PerceptualLoss:
    distance: PerceptualDistance
    if config.network == "vgg16":
        distance = load_vgg_lpips(locate(VGG16_FILE, root), device)
    elif codec is not None:
        distance = VaeEncoderDistance(codec.vae.encoder)
    else:
        raise ValueError("losses.perceptual.network vae_encoder needs a codec")
    return PerceptualLoss(config.weight, distance)


def _build_trepa_loss(
    config: TrepaLossConfig,
    device: torch.device | str,
    dtype: torch.dtype,
    num_frames: int,
    root: Path,
    recompute: bool,
) -> TrepaLoss:
    if config.network == VIDEOMAE_V2:
        features = load_published_videomae(locate(VIDEOMAE_FILE, root), device, dtype)
    else:
        features = load_small_videomae(locate(config.network, root), device, dtype)
    if features.size.num_frames != num_frames:
        raise ConfigError(
            f"the VideoMAE {config.network} takes {features.size.num_frames} frames, a window has {num_frames}: "
            "name another in losses.trepa.network"
        )
    features.recompute = recompute
    return TrepaLoss(config.weight, features)
