"""Build the training of the lip-sync U-Net from its configuration, and the checks that precede it."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder
from latentsync.data.batching import collate
from latentsync.data.clip_features import ClipFeatures, codec_fingerprint, encoder_fingerprint
from latentsync.data.clip_list import list_clips
from latentsync.data.unet_dataset import UNetDataset
from latentsync.device import frozen_dtype, process_device, resolve_mixed_precision
from latentsync.errors import ConfigError
from latentsync.judges.stable_sync_scorer import check_stable_sync_scorer, load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.losses.build import build_losses, loss_checks
from latentsync.losses.loss_stack import LossStack
from latentsync.models.checkpoint import check_unet, load_unet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec, load_vae, read_vae_shape
from latentsync.recipes.unet_run import UNetRun
from latentsync.recipes.unet_validation import UNetValidator
from latentsync.storage.content_cache import ArrayCache, cache_key, content_key
from latentsync.training.distillation import DistillationConfig, DistillationStep, Teacher
from latentsync.training.optimizers import select_trainable
from latentsync.training.train_command import Check
from latentsync.training.trainer import Trainer
from latentsync.training.training_data import check_cache_folder, check_clip_source, clip_source, usable_clips
from latentsync.training.unet_step import UNetStep
from latentsync.weights import REPOSITORY_ROOT, find_vae, locate, locate_initial

logger = logging.getLogger(__name__)

MOTION_MODULES = ("motion_modules.",)
"""Module lists that only one of the two stages has, so initial weights may lack them or have them in excess."""
SYNCNET_V2 = "checkpoints/auxiliary/syncnet_v2.model"


def build_unet_trainer(run: UNetRun, resolved_config: dict) -> Trainer:
    """Load the networks, check the clips, compute missing features, and build the trainer.

    Args:
        run: the configuration.
        resolved_config: the configuration as plain data, for the run folder and the checkpoints.

    Raises:
        InputError: no clip is usable.
        ConfigError: parts of the configuration do not fit each other.
        CheckpointError: weights are missing or do not fit.
    """
    train_clips = clip_source("train_clips", run.data.train_clips)
    device = process_device(run.training.device)
    dtype = frozen_dtype(resolve_mixed_precision(run.training.mixed_precision, device))
    codec = load_vae(find_vae(run.vae), device, dtype)
    encoder = load_whisper_encoder(locate(run.audio.whisper), device)
    check_latent_channels(run, codec.latent_channels)
    check_audio_width(run, encoder.width)
    recompute = run.training.gradient_checkpointing
    resolution, num_frames = run.data.resolution, run.data.num_frames
    losses = build_losses(run.losses, codec, device, dtype, resolution, num_frames, recompute=recompute)
    unet = initial_unet(run)
    num_trainable = select_trainable(unet, run.trainable)
    logger.info("%.1f M parameters are trained", num_trainable / 1e6)
    arguments = (unet, codec, losses, run.diffusion, resolution, recompute, run.data.sample_latents)
    if run.distillation is None:
        step = UNetStep(*arguments)
    else:
        key = cache_key(codec_fingerprint(codec), encoder_fingerprint(encoder))
        step = DistillationStep(load_teacher(run, run.distillation, key, device, dtype), *arguments)
    if run.export_changes and run.initial is not None:
        step.base = locate_initial(run.initial)
    training_data = _TrainingData(run, codec, encoder, losses)
    dataset = training_data.windows("train", list_clips(train_clips))
    validator = None
    if run.data.validation_clips is not None:
        # Every generated video takes the speech of the next clip, hence one clip more than videos.
        num_clips = max(run.validation.num_windows, run.validation.num_videos + 1)
        windows = training_data.windows("validation", list_clips(Path(run.data.validation_clips))[:num_clips])
        validator = UNetValidator(run, step, windows, build_sync_scorer(run, device, dtype))
    return Trainer(run.training, step, dataset, collate, validator, resolved_config)


def initial_unet(run: UNetRun) -> UNet3DConditionModel:
    """Return the U-Net that the training starts from, float32 on the CPU.

    Without `initial` the input convolution gets random weights. The model initializes its first and its last
    convolution with zeros, and between the two no gradient would flow.
    """
    torch.manual_seed(run.training.seed)
    if run.initial is None:
        unet = UNet3DConditionModel.from_unet_config(run.model)
        unet.conv_in.reset_parameters()
        return unet
    path = locate_initial(run.initial)
    logger.info("training starts from %s", path)
    return load_unet(run.model, path, allow_new_layers=True, allow_missing=MOTION_MODULES, allow_unused=MOTION_MODULES)


def load_teacher(
    run: UNetRun, config: DistillationConfig, key: str, device: torch.device, dtype: torch.dtype
) -> Teacher:
    """Load the initial weights once more as the teacher of a few-step distillation.

    Args:
        run: the configuration.
        config: its section `distillation`.
        key: fingerprint of the VAE and the audio encoder.
        device: the training device.
        dtype: format of the frozen networks.
    """
    assert run.initial is not None
    path = locate_initial(run.initial)
    data, noise = run.data, run.diffusion.shared_noise
    settings = (data.resolution, data.num_frames, data.video_fps, data.sample_latents, noise, dtype, run.model)
    key = cache_key(key, content_key(path), *map(str, settings))
    return Teacher(load_unet(run.model, path, device, dtype), config, ArrayCache(Path(data.cache_dir)), key)


def meta_unet(run: UNetRun) -> UNet3DConditionModel:
    """Return a U-Net with its trainable parameters marked; called on the meta device."""
    unet = UNet3DConditionModel.from_unet_config(run.model)
    select_trainable(unet, run.trainable)
    return unet


def build_sync_scorer(run: UNetRun, device: torch.device, dtype: torch.dtype) -> SyncScorer | None:
    """Build the scorer for validation videos, or return None if the configuration asks for none."""
    validation = run.validation
    if validation.scorer == "none" or validation.num_videos == 0:
        return None
    if validation.scorer == "syncnet_v2":
        return SyncNetV2Scorer(load_syncnet_v2(locate(SYNCNET_V2), device))
    checkpoint = locate(validation.syncnet_checkpoint)
    return load_stable_sync_scorer(REPOSITORY_ROOT / validation.syncnet, checkpoint, device, dtype)


class _TrainingData:
    """Builds datasets of clips; the frozen networks compute the features that the cache lacks."""

    def __init__(self, run: UNetRun, codec: LatentCodec, encoder: WhisperEncoder, losses: LossStack) -> None:
        self._run, self._encoder, self._losses = run, encoder, losses
        self._codec = codec if run.data.cache_latents else None
        codec_key = None if self._codec is None else codec_fingerprint(self._codec)
        cache, encoder_key = ArrayCache(Path(run.data.cache_dir)), encoder_fingerprint(encoder)
        self._features = ClipFeatures(cache, run.data.resolution, encoder_key, codec_key)

    def windows(self, name: str, paths: list[Path]) -> UNetDataset:
        """Return windows of the usable clips; `<name>_clips.json` in the run folder lists the others."""
        run, data = self._run, self._run.data
        report = Path(run.training.run_dir) / f"{name}_clips.json"
        networks = (self._encoder, self._codec)
        length = data.min_frames, data.video_fps
        clips = usable_clips(paths, *length, self._features, report, *networks, num_variants=data.frame_variants)
        needs = (self._losses.needs_target_pixels, self._losses.needs_mel)
        return UNetDataset(clips, self._features, data, run.training.seed, *needs)


def unet_checks(run: UNetRun, unet: nn.Module, root: Path = REPOSITORY_ROOT) -> Iterator[Check]:
    """Yield checks of all files that a U-Net training reads.

    Only the audio encoder is loaded. Of other weights the names and shapes are read, or only their existence; clips
    are listed, not opened.

    Args:
        run: the configuration.
        unet: its network, which may be on the meta device.
        root: folder that relative paths start from.
    """
    yield partial(check_clip_source, "train_clips", run.data.train_clips)
    if run.data.validation_clips is not None:
        yield partial(check_clip_source, "validation_clips", run.data.validation_clips)
    yield partial(check_cache_folder, run.data.cache_dir)
    yield lambda: check_audio_width(run, load_whisper_encoder(locate(run.audio.whisper, root)).width)
    yield lambda: check_latent_channels(run, read_vae_shape(find_vae(run.vae, root)).latent_channels)
    if run.initial is not None:
        yield partial(_check_initial, run, unet, run.initial, root)
    yield from loss_checks(run.losses, run.data.num_frames, root)
    if run.data.validation_clips is not None and run.validation.num_videos > 0:
        yield partial(_check_scorer, run, root)


def check_audio_width(run: UNetRun, width: int) -> None:
    """Raise ConfigError unless the U-Net takes audio tokens of this width."""
    if run.model.add_audio_layer and width != run.model.cross_attention_dim:
        raise ConfigError(
            f"{run.audio.whisper} gives audio of width {width}, model.cross_attention_dim is "
            f"{run.model.cross_attention_dim}: 384 is whisper/tiny.pt, 768 is whisper/small.pt"
        )


def check_latent_channels(run: UNetRun, channels: int) -> None:
    """Raise ConfigError unless the U-Net takes latents of this many channels."""
    if (run.model.in_channels, run.model.out_channels) != (3 * channels + 1, channels):
        raise ConfigError(
            f"{run.vae} has {channels} latent channels: set model.in_channels={3 * channels + 1} and "
            f"model.out_channels={channels}, or name another vae"
        )


def _check_initial(run: UNetRun, unet: nn.Module, initial: str, root: Path) -> None:
    path = locate_initial(initial, root)
    check_unet(unet, run.model, path, allow_new_layers=True, allow_missing=MOTION_MODULES, allow_unused=MOTION_MODULES)


def _check_scorer(run: UNetRun, root: Path) -> None:
    validation = run.validation
    if validation.scorer == "syncnet_v2":
        locate(SYNCNET_V2, root)
    elif validation.scorer == "stable_syncnet":
        check_stable_sync_scorer(root / validation.syncnet, locate(validation.syncnet_checkpoint, root))
