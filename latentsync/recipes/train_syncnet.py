"""Builds the training of a SyncNet from its configuration."""

from pathlib import Path

import torch
from torch import nn

from latentsync.data.batching import collate
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, codec_fingerprint
from latentsync.data.clip_list import list_clips
from latentsync.data.syncnet_dataset import SyncNetDataset, WindowGroups
from latentsync.device import frozen_dtype, process_device
from latentsync.errors import ConfigError
from latentsync.models.checkpoint import load_syncnet
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.syncnet_shapes import check_syncnet_shapes
from latentsync.recipes.usable_clips import usable_clips
from latentsync.storage.content_cache import ArrayCache
from latentsync.training.launch import resolve_mixed_precision
from latentsync.training.sync_accuracy import SyncAccuracy
from latentsync.training.syncnet_step import SyncNetStep
from latentsync.training.syncnet_validator import SyncNetValidator
from latentsync.training.trainer import Trainer
from latentsync.training.watchdog import ChanceWatchdog
from latentsync.weights import find_vae, locate_initial

_FEW_PAIRS = 256
_BEST_NUM_FRAMES = 16
_HIGH_RATE = 1e-4


def build_syncnet_trainer(run: SyncNetRun, resolved_config: dict) -> Trainer:
    """Checks the clips, computes the latents that are missing, and joins network, pairs and validation with a trainer.

    Raises:
        InputError: there are no usable clips.
        ConfigError: parts of the configuration do not fit.
        CheckpointError: weights are missing or do not fit.
    """
    if run.data.train_clips is None or run.data.validation_clips is None:
        missing = "train_clips" if run.data.train_clips is None else "validation_clips"
        raise ConfigError(f"data.{missing} is not set: name a folder of clips, or a file with one path a line")
    codec = syncnet_codec(run)
    check_syncnet_shapes(run, codec)
    features = syncnet_features(run, codec)
    clips = _clips(run, run.data.train_clips, "train", features, codec)
    held_out = _clips(run, run.data.validation_clips, "validation", features, codec)
    step = SyncNetStep(initial_syncnet(run), run.pairs, run.data.min_offset_frames, {"resolution": run.data.resolution})
    windows = SyncNetDataset(clips, features, run.data, run.training.seed)
    is_grouped = run.pairs.windows_per_clip > 1
    dataset = WindowGroups(windows, run.pairs.windows_per_clip) if is_grouped else windows
    accuracy = SyncAccuracy(features, run.data, run.validation.windows_per_clip)
    validator = SyncNetValidator(accuracy, held_out[: run.validation.num_clips or None])
    watchdog = ChanceWatchdog(run.watchdog, advice(run))
    return Trainer(run.training, step, dataset, collate, validator, resolved_config, [watchdog])


def initial_syncnet(run: SyncNetRun) -> nn.Module:
    """The network the training starts from, float32 on the CPU."""
    torch.manual_seed(run.training.seed)
    return StableSyncNet(run.model) if run.initial is None else load_syncnet(run.model, locate_initial(run.initial))


def syncnet_codec(run: SyncNetRun) -> LatentCodec | None:
    """The autoencoder of a SyncNet on latents, else None. Raises CheckpointError where it is missing."""
    if not run.data.latent_space:
        return None
    device = process_device(run.training.device)
    precision = resolve_mixed_precision(run.training.mixed_precision, device)
    return load_vae(find_vae(run.vae), device, frozen_dtype(precision))


def syncnet_features(run: SyncNetRun, codec: LatentCodec | None) -> ClipFeatures:
    """The cached views of clips this SyncNet looks at."""
    codec_key = None if codec is None else codec_fingerprint(codec)
    return ClipFeatures(ArrayCache(Path(run.data.cache_dir)), run.data.resolution, codec_key=codec_key)


def advice(run: SyncNetRun) -> list[str]:
    """What this configuration could change to leave chance, the most effective first (docs/syncnet_convergence.md)."""
    lines = []
    if run.pairs.windows_per_clip == 1:
        lines.append("compare more pairs with pairs.windows_per_clip=4")
    if run.pairs.contrastive_weight == 0:
        lines.append("warm up with pairs.contrastive_weight=1")
    if run.training.optimizer.name == "adamw" and run.training.optimizer.lr > _HIGH_RATE:
        lines.append(f"lower training.optimizer.lr to {_HIGH_RATE:g} or less")
    num_pairs = run.training.batch_size * run.training.gradient_accumulation * run.pairs.windows_per_clip
    if num_pairs < _FEW_PAIRS:
        lines.append(f"raise training.batch_size ({num_pairs} windows a step, published {_FEW_PAIRS})")
    if run.data.num_frames != _BEST_NUM_FRAMES:
        lines.append(f"use data.num_frames={_BEST_NUM_FRAMES}")
    lines.append("check that the clips are aligned and their sound in sync")
    return lines


def _clips(
    run: SyncNetRun, source: str, name: str, features: ClipFeatures, codec: LatentCodec | None
) -> list[TrainingClip]:
    """The usable clips of a source, with their latents where the network sees those."""
    report = Path(run.training.run_dir) / f"{name}_clips.json"
    paths = list_clips(Path(source))
    return usable_clips(paths, run.data.min_frames, run.data.video_fps, features, report, codec=codec)
