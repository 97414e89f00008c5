"""Build the training of a SyncNet from its configuration, and the checks that precede it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from latentsync.data.batching import collate
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, codec_fingerprint
from latentsync.data.clip_list import list_clips
from latentsync.data.syncnet_dataset import SyncNetDataset, WindowGroups
from latentsync.device import frozen_dtype, process_device, resolve_mixed_precision
from latentsync.models.checkpoint import check_syncnet, load_syncnet
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.vae import LatentCodec, load_vae, read_vae_shape
from latentsync.recipes.syncnet_run import SyncNetRun, check_syncnet_shapes
from latentsync.storage.content_cache import ArrayCache
from latentsync.training.sync_accuracy import SyncAccuracy, SyncNetValidator
from latentsync.training.syncnet_step import ChanceWatchdog, SyncNetStep
from latentsync.training.train_command import Check
from latentsync.training.trainer import Trainer
from latentsync.training.training_data import check_cache_folder, check_clip_source, clip_source, usable_clips
from latentsync.weights import REPOSITORY_ROOT, find_vae, locate_initial

_PUBLISHED_NUM_PAIRS = 256
_PUBLISHED_NUM_FRAMES = 16
_HIGH_LEARNING_RATE = 1e-4


def build_syncnet_trainer(run: SyncNetRun, resolved_config: dict) -> Trainer:
    """Check the clips, compute missing latents, and build the trainer.

    Args:
        run: the configuration.
        resolved_config: the configuration as plain data, for the run folder and the checkpoints.

    Raises:
        InputError: no clip is usable.
        ConfigError: parts of the configuration do not fit each other.
        CheckpointError: weights are missing or do not fit.
    """
    train_clips = clip_source("train_clips", run.data.train_clips)
    validation_clips = clip_source("validation_clips", run.data.validation_clips)
    codec = syncnet_codec(run)
    check_syncnet_shapes(run, codec)
    features = syncnet_features(run, codec)
    clips = _clips(run, train_clips, "train", features, codec)
    held_out = _clips(run, validation_clips, "validation", features, codec)
    step = SyncNetStep(initial_syncnet(run), run.pairs, run.data.min_offset_frames, {"resolution": run.data.resolution})
    windows = SyncNetDataset(clips, features, run.data, run.training.seed)
    is_grouped = run.pairs.windows_per_clip > 1
    dataset = WindowGroups(windows, run.pairs.windows_per_clip) if is_grouped else windows
    accuracy = SyncAccuracy(features, run.data, run.validation.windows_per_clip)
    validator = SyncNetValidator(accuracy, held_out[: run.validation.num_clips or None])
    watchdog = ChanceWatchdog(run.watchdog, advice(run))
    return Trainer(run.training, step, dataset, collate, validator, resolved_config, [watchdog])


def initial_syncnet(run: SyncNetRun) -> nn.Module:
    """Return the network that the training starts from, float32 on the CPU."""
    torch.manual_seed(run.training.seed)
    return StableSyncNet(run.model) if run.initial is None else load_syncnet(run.model, locate_initial(run.initial))


def meta_syncnet(run: SyncNetRun) -> StableSyncNet:
    """Return the network; called on the meta device.

    Raises:
        ConfigError: its parts do not fit. A network on latents is not checked here: its shapes depend on the VAE.
    """
    if not run.data.latent_space:
        check_syncnet_shapes(run)
    return StableSyncNet(run.model)


def syncnet_codec(run: SyncNetRun) -> LatentCodec | None:
    """Load the VAE of a SyncNet on latents; return None for one on pixels.

    Raises:
        CheckpointError: the VAE is missing.
    """
    if not run.data.latent_space:
        return None
    device = process_device(run.training.device)
    precision = resolve_mixed_precision(run.training.mixed_precision, device)
    return load_vae(find_vae(run.vae), device, frozen_dtype(precision))


def syncnet_features(run: SyncNetRun, codec: LatentCodec | None) -> ClipFeatures:
    """Return the feature cache for the clips of a SyncNet."""
    codec_key = None if codec is None else codec_fingerprint(codec)
    return ClipFeatures(ArrayCache(Path(run.data.cache_dir)), run.data.resolution, codec_key=codec_key)


def advice(run: SyncNetRun) -> list[str]:
    """Return changes that help this configuration leave chance, the most effective first.

    docs/syncnet_convergence.md has the measurements.
    """
    lines = []
    if run.pairs.windows_per_clip == 1:
        lines.append("compare more pairs with pairs.windows_per_clip=4")
    if run.pairs.contrastive_weight == 0:
        lines.append("warm up with pairs.contrastive_weight=1")
    if run.training.optimizer.name == "adamw" and run.training.optimizer.lr > _HIGH_LEARNING_RATE:
        lines.append(f"lower training.optimizer.lr to {_HIGH_LEARNING_RATE:g} or less")
    num_pairs = run.training.batch_size * run.training.gradient_accumulation * run.pairs.windows_per_clip
    if num_pairs < _PUBLISHED_NUM_PAIRS:
        lines.append(f"raise training.batch_size ({num_pairs} windows a step, published {_PUBLISHED_NUM_PAIRS})")
    if run.data.num_frames != _PUBLISHED_NUM_FRAMES:
        lines.append(f"use data.num_frames={_PUBLISHED_NUM_FRAMES}")
    lines.append("check that the clips are aligned and their audio in sync")
    return lines


def _clips(
    run: SyncNetRun, source: Path, name: str, features: ClipFeatures, codec: LatentCodec | None
) -> list[TrainingClip]:
    """Return the usable clips of a source; `codec` computes their missing latents."""
    report = Path(run.training.run_dir) / f"{name}_clips.json"
    paths = list_clips(source)
    return usable_clips(paths, run.data.min_frames, run.data.video_fps, features, report, codec=codec)


def syncnet_checks(run: SyncNetRun, syncnet: nn.Module, root: Path = REPOSITORY_ROOT) -> Iterator[Check]:
    """Yield checks of all files that a SyncNet training reads; arguments as for `train_unet.unet_checks`."""
    yield partial(check_clip_source, "train_clips", run.data.train_clips)
    yield partial(check_clip_source, "validation_clips", run.data.validation_clips)
    yield partial(check_cache_folder, run.data.cache_dir)
    if run.data.latent_space:
        yield lambda: check_syncnet_shapes(run, read_vae_shape(find_vae(run.vae, root)))
    if run.initial is not None:
        yield partial(_check_initial, syncnet, run.initial, root)


def _check_initial(syncnet: nn.Module, initial: str, root: Path) -> None:
    check_syncnet(syncnet, locate_initial(initial, root))
