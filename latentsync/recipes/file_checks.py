"""What a training checks before its work, and `--dry_run` too: clips, cache, and weights by names and shapes."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from torch import nn

from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.data.clip_list import list_clips
from latentsync.errors import ConfigError, InputError, LatentSyncError
from latentsync.judges.stable_sync_scorer import check_stable_sync_scorer
from latentsync.losses.build import loss_checks
from latentsync.models.checkpoint import check_syncnet, check_unet
from latentsync.models.vae import read_vae_shape
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.syncnet_shapes import check_syncnet_shapes
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import REPOSITORY_ROOT, find_vae, locate, locate_initial

MOTION_MODULES = ("motion_modules.",)
"""Module lists in which a U-Net's training may differ from the weights it starts from: those of another stage."""
SYNCNET_V2 = "checkpoints/auxiliary/syncnet_v2.model"

Check = Callable[[], object]


def unet_file_faults(run: UNetRun, unet: nn.Module, root: Path = REPOSITORY_ROOT) -> list[str]:
    """List what the files of a U-Net's training lack, one line each; those of the clips are listed, not opened.

    Only the audio encoder is loaded; of other weights the names and shapes are read, or only their existence.

    Args:
        run: the configuration.
        unet: its network, which may be on the meta device.
        root: folder that relative paths start from.
    """
    return faults_of(_unet_checks(run, unet, root))


def syncnet_file_faults(run: SyncNetRun, syncnet: nn.Module, root: Path = REPOSITORY_ROOT) -> list[str]:
    """List what the files of a SyncNet's training lack, one line each; arguments as for `unet_file_faults`."""
    return faults_of(_syncnet_checks(run, syncnet, root))


def check_audio_width(run: UNetRun, width: int) -> None:
    """Raise ConfigError unless the U-Net takes audio tokens of this width."""
    if run.model.add_audio_layer and width != run.model.cross_attention_dim:
        raise ConfigError(
            f"{run.audio.whisper} gives audio of width {width}, model.cross_attention_dim is "
            f"{run.model.cross_attention_dim}: 384 is whisper/tiny.pt, 768 is whisper/small.pt"
        )


def check_latent_channels(run: UNetRun, channels: int) -> None:
    """Raise ConfigError unless the U-Net takes latents of so many channels."""
    if (run.model.in_channels, run.model.out_channels) != (3 * channels + 1, channels):
        raise ConfigError(
            f"{run.vae} has {channels} latent channels: set model.in_channels={3 * channels + 1} and "
            f"model.out_channels={channels}, or name another vae"
        )


def _unet_checks(run: UNetRun, unet: nn.Module, root: Path) -> Iterator[Check]:
    yield partial(_check_clips, "train_clips", run.data.train_clips)
    if run.data.validation_clips is not None:
        yield partial(_check_clips, "validation_clips", run.data.validation_clips)
    yield partial(_check_cache, run.data.cache_dir)
    yield partial(_check_audio_encoder, run, root)
    yield partial(_check_vae, run, root)
    if run.initial is not None:
        yield partial(_check_initial_unet, run, unet, run.initial, root)
    yield from loss_checks(run.losses, run.data.num_frames, root)
    if run.data.validation_clips is not None and run.validation.num_videos > 0:
        yield partial(_check_scorer, run, root)


def _syncnet_checks(run: SyncNetRun, syncnet: nn.Module, root: Path) -> Iterator[Check]:
    yield partial(_check_clips, "train_clips", run.data.train_clips)
    yield partial(_check_clips, "validation_clips", run.data.validation_clips)
    yield partial(_check_cache, run.data.cache_dir)
    if run.data.latent_space:
        yield partial(_check_syncnet_vae, run, root)
    if run.initial is not None:
        yield partial(_check_initial_syncnet, syncnet, run.initial, root)


def _check_clips(name: str, source: str | None) -> None:
    if source is None:
        raise ConfigError(f"data.{name} is not set: name a folder of clips, or a file with one path a line")
    clips = list_clips(Path(source))
    if not any(clip.is_file() for clip in clips):
        raise InputError(
            f"{source} names {len(clips)} clips, of which none exists (such as {clips[0]}): correct the list"
        )


def _check_cache(cache_dir: str) -> None:
    folder = Path(cache_dir)
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "Permission denied" if nearest.is_dir() else f"{nearest} is a file"
        raise InputError(f"the cache {folder} cannot be written ({what}): name another data.cache_dir")


def _check_audio_encoder(run: UNetRun, root: Path) -> None:
    check_audio_width(run, load_whisper_encoder(locate(run.audio.whisper, root)).width)


def _check_vae(run: UNetRun, root: Path) -> None:
    check_latent_channels(run, read_vae_shape(find_vae(run.vae, root)).latent_channels)


def _check_syncnet_vae(run: SyncNetRun, root: Path) -> None:
    check_syncnet_shapes(run, read_vae_shape(find_vae(run.vae, root)))


def _check_initial_unet(run: UNetRun, unet: nn.Module, initial: str, root: Path) -> None:
    path = locate_initial(initial, root)
    check_unet(unet, run.model, path, allow_new_layers=True, allow_missing=MOTION_MODULES, allow_unused=MOTION_MODULES)


def _check_initial_syncnet(syncnet: nn.Module, initial: str, root: Path) -> None:
    check_syncnet(syncnet, locate_initial(initial, root))


def _check_scorer(run: UNetRun, root: Path) -> None:
    chosen = run.validation
    if chosen.scorer == "syncnet_v2":
        locate(SYNCNET_V2, root)
    elif chosen.scorer == "stable_syncnet":
        check_stable_sync_scorer(root / chosen.syncnet, locate(chosen.syncnet_checkpoint, root))


def faults_of(checks: Iterable[Check]) -> list[str]:
    """The messages of the checks that fail, in order, each once."""
    faults: list[str] = []
    for check in checks:
        try:
            check()
        except LatentSyncError as error:
            faults.append(" ".join(str(error).split()))
    return list(dict.fromkeys(faults))
