"""Data of a training: usable clips with cached features, and batches of their items for every process."""

import os
import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch.utils.data import DataLoader

from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.batching import StepSampler
from latentsync.data.clip_check import TrainingClip, check_clips
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.clip_list import list_clips
from latentsync.data.prepare_features import prepare_features
from latentsync.errors import ConfigError, InputError, LatentSyncError, first_line
from latentsync.models.vae import LatentCodec
from latentsync.training.interrupts import SIGNALS
from latentsync.training.run_folder import claim_run

_WORKER_ERROR_PREFIX = "Caught "
_WORKER_DEATHS = ("exited unexpectedly", "is killed by signal")
"""torch's messages when the system ended a worker, or a library crashed in it."""
Batch = dict[str, Any]
Collate = Callable[[Sequence[Any]], Batch]


class SizedDataset(Protocol):
    """A map-style dataset whose items are functions of their keys."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> Any: ...


def clip_source(name: str, source: str | None) -> Path:
    """Return the source of clips. Raise ConfigError if it is not set; `name` is its key in the section `data`."""
    if source is None:
        raise ConfigError(f"data.{name} is not set: name a folder of clips, or a file with one path a line")
    return Path(source)


def check_clip_source(name: str, source: str | None) -> None:
    """Raise ConfigError or InputError unless `source` names at least one existing clip.

    Args:
        name: key of the source in the section `data`.
        source: folder of clips, or a file with one path a line.
    """
    clips = list_clips(clip_source(name, source))
    if not any(clip.is_file() for clip in clips):
        raise InputError(
            f"{source} names {len(clips)} clips, of which none exists (such as {clips[0]}): correct the list"
        )


def check_cache_folder(cache_dir: str) -> None:
    """Raise InputError unless the folder, or the nearest existing parent, is a writable folder."""
    folder = Path(cache_dir)
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = "Permission denied" if nearest.is_dir() else f"{nearest} is a file"
        raise InputError(f"the cache {folder} cannot be written ({reason}): name another data.cache_dir")


def usable_clips(
    paths: Sequence[Path],
    min_frames: int,
    fps: float,
    features: ClipFeatures,
    report: Path,
    encoder: WhisperEncoder | None = None,
    codec: LatentCodec | None = None,
    num_variants: int = 0,
) -> list[TrainingClip]:
    """Return the usable clips, and fill the cache; each process of a launcher computes a share of missing features.

    Args:
        paths: the clips.
        min_frames: clips of fewer frames are skipped.
        fps: frames per second; clips at another rate are skipped.
        features: cache of the features.
        report: JSON in the run folder that lists skipped clips with reasons.
        encoder: computes Whisper features; None: they are not needed.
        codec: computes latents; None: they are not needed.
        num_variants: number of variants of every clip whose latents are needed too.

    Raises:
        InputError: no clip is usable, the cache cannot be written, or another program owns the run folder.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if rank == 0:
        claim_run(report.parent)
    check = check_clips(paths, min_frames, fps, cache=features.cache.folder, start=rank * len(paths) // world_size)
    if rank == 0:
        check.write_report(report)
    prepare_features(check.usable, features, encoder, codec, rank, world_size, num_variants=num_variants)
    return check.usable


def batches(
    dataset: SizedDataset, collate: Collate, sampler: StepSampler, num_workers: int, device: torch.device
) -> Generator[Batch, None, None]:
    """Yield the sampler's batches on `device`; they do not depend on the number of workers.

    Workers are spawned, not forked, so `dataset` and `collate` must be picklable. No decoder or thread of this process
    leaks into a worker, and this process's random generators are not used.

    Raises:
        LatentSyncError: an item cannot be read; the message is the original one, from a worker too. Or a worker ended.
    """
    loader: DataLoader[Any] = DataLoader(
        cast(Any, dataset),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=ignore_signals if num_workers else None,
        pin_memory=device.type not in ("cpu", "mps"),
        generator=torch.Generator().manual_seed(sampler.seed),
    )
    iterator = iter(loader)
    try:
        for batch in iterator:
            yield {name: _to_device(value, device) for name, value in batch.items()}
    except LatentSyncError as error:
        raise type(error)(_original_message(error)) from error
    except RuntimeError as error:
        if num_workers == 0 or not any(message in str(error) for message in _WORKER_DEATHS):
            raise
        raise LatentSyncError(
            f"a data worker of the training ended unexpectedly ({first_line(error).rstrip('. ')}): it may have run out "
            f"of memory or of shared memory; lower training.num_workers ({num_workers}), or in a container raise the "
            "shared memory (docker run --shm-size 8g)"
        ) from error
    finally:
        if num_workers:  # they ignore the signal by which Python would end them at its exit, and it would wait for ever
            cast(Any, iterator)._shutdown_workers()


def _original_message(error: LatentSyncError) -> str:
    """Return the message without the traceback that torch puts before an error of a worker."""
    text = str(error)
    if not text.startswith(_WORKER_ERROR_PREFIX):
        return text
    return text.strip().splitlines()[-1].partition(f"{type(error).__name__}: ")[2]


def ignore_signals(worker: int) -> None:
    """Ignore signals in a worker: the training process receives them too, and needs its workers until it has saved."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _to_device(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
