"""Builds the training of the lip-sync U-Net from its configuration."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from latentsync.audio.whisper_model import WhisperEncoder, load_whisper_encoder
from latentsync.data.batching import collate
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, codec_fingerprint, encoder_fingerprint
from latentsync.data.clip_list import list_clips
from latentsync.data.unet_dataset import UNetDataset
from latentsync.device import frozen_dtype, process_device
from latentsync.errors import ConfigError
from latentsync.judges.stable_sync_scorer import load_stable_sync_scorer
from latentsync.judges.sync_score import SyncScorer
from latentsync.judges.syncnet_v2 import SyncNetV2Scorer, load_syncnet_v2
from latentsync.losses.build import build_losses
from latentsync.models.checkpoint import load_unet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.file_checks import MOTION_MODULES, SYNCNET_V2, check_audio_width, check_latent_channels
from latentsync.recipes.unet_run import UNetRun
from latentsync.recipes.unet_validation import UNetValidator
from latentsync.recipes.usable_clips import usable_clips
from latentsync.storage.content_cache import ArrayCache
from latentsync.training.launch import resolve_mixed_precision
from latentsync.training.trainable import select_trainable
from latentsync.training.trainer import Trainer
from latentsync.training.unet_step import UNetStep
from latentsync.weights import REPOSITORY_ROOT, find_vae, locate, locate_initial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenNetworks:
    """What the U-Net's training needs and does not change."""

    codec: LatentCodec
    encoder: WhisperEncoder


def build_unet_trainer(run: UNetRun, resolved_config: dict) -> Trainer:
    """Loads the networks, checks the clips, computes the features that are missing, and joins all with a trainer.

    Raises:
        InputError: there are no usable clips.
        ConfigError: parts of the configuration do not fit.
        CheckpointError: weights are missing or do not fit.
    """
    if run.data.train_clips is None:
        raise ConfigError("data.train_clips is not set: name a folder of clips, or a file with one path a line")
    device = process_device(run.training.device)
    dtype = frozen_dtype(resolve_mixed_precision(run.training.mixed_precision, device))
    frozen = FrozenNetworks(
        codec=load_vae(find_vae(run.vae), device, dtype),
        encoder=load_whisper_encoder(locate(run.audio.whisper), device),
    )
    check_latent_channels(run, frozen.codec.latent_channels)
    check_audio_width(run, frozen.encoder.width)
    recompute = run.training.gradient_checkpointing
    losses = build_losses(
        run.losses,
        frozen.codec,
        device,
        dtype,
        run.data.resolution,
        run.data.num_frames,
        recompute=recompute,
    )
    unet = initial_unet(run)
    logger.info("%.1f M weights train", select_trainable(unet, run.trainable) / 1e6)
    step = UNetStep(unet, frozen.codec, losses, run.diffusion, run.data.resolution, recompute, run.data.sample_latents)
    features = _features(run, frozen)
    clips = _clips(run, "train", list_clips(Path(run.data.train_clips)), features, frozen)
    wants = {"load_pixels": losses.needs_target_pixels, "load_mel": losses.needs_mel}
    dataset = UNetDataset(clips, features, run.data, run.training.seed, **wants)
    validator = None
    if run.data.validation_clips is not None:
        num_looked_at = max(run.validation.num_windows, run.validation.num_videos + 1)
        paths = list_clips(Path(run.data.validation_clips))[:num_looked_at]
        held_out = _clips(run, "validation", paths, features, frozen)
        windows = UNetDataset(held_out, features, run.data, run.training.seed, **wants)
        validator = _validator(run, step, windows, held_out, features, device, dtype)
    return Trainer(run.training, step, dataset, collate, validator, resolved_config)


def initial_unet(run: UNetRun) -> UNet3DConditionModel:
    """The U-Net the training starts from, float32 on the CPU.

    Without `initial` its input convolution gets random weights: with zeros at both ends nothing would learn.
    """
    torch.manual_seed(run.training.seed)
    if run.initial is None:
        unet = UNet3DConditionModel.from_unet_config(run.model)
        unet.conv_in.reset_parameters()
        return unet
    path = locate_initial(run.initial)
    logger.info("training starts from %s", path)
    return load_unet(run.model, path, allow_new_layers=True, allow_missing=MOTION_MODULES, allow_unused=MOTION_MODULES)


def sync_scorer(run: UNetRun, device: torch.device, dtype: torch.dtype) -> SyncScorer | None:
    """Who scores the validation videos."""
    chosen = run.validation
    if chosen.scorer == "none" or chosen.num_videos == 0:
        return None
    if chosen.scorer == "syncnet_v2":
        return SyncNetV2Scorer(load_syncnet_v2(locate(SYNCNET_V2), device))
    checkpoint = locate(chosen.syncnet_checkpoint)
    return load_stable_sync_scorer(REPOSITORY_ROOT / chosen.syncnet, checkpoint, device, dtype)


def _features(run: UNetRun, frozen: FrozenNetworks) -> ClipFeatures:
    codec_key = codec_fingerprint(frozen.codec) if run.data.cache_latents else None
    cache = ArrayCache(Path(run.data.cache_dir))
    return ClipFeatures(cache, run.data.resolution, encoder_fingerprint(frozen.encoder), codec_key)


def _clips(
    run: UNetRun, name: str, paths: list[Path], features: ClipFeatures, frozen: FrozenNetworks
) -> list[TrainingClip]:
    """The usable ones of some clips, with their features."""
    codec = frozen.codec if run.data.cache_latents else None
    report = Path(run.training.run_dir) / f"{name}_clips.json"
    return usable_clips(paths, run.data.min_frames, run.data.video_fps, features, report, frozen.encoder, codec)


def _validator(
    run: UNetRun,
    step: UNetStep,
    windows: UNetDataset,
    clips: list[TrainingClip],
    features: ClipFeatures,
    device: torch.device,
    dtype: torch.dtype,
) -> UNetValidator:
    chosen = run.validation
    options = LipsyncOptions(
        num_inference_steps=run.run.inference_steps,
        guidance_scale=run.run.guidance_scale,
        overlap_frames=run.data.num_frames // 4,
    )
    return UNetValidator(
        step=step,
        windows=windows,
        num_windows=chosen.num_windows,
        batch_size=run.training.batch_size,
        clips=clips,
        num_videos=chosen.num_videos,
        num_frames=chosen.num_frames,
        num_window_frames=run.data.num_frames,
        features=features,
        options=options,
        fps=run.data.video_fps,
        scorer=sync_scorer(run, device, dtype),
    )
