"""The clips of a training, checked and with their cached features."""

import os
from collections.abc import Sequence
from pathlib import Path

from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.clip_check import TrainingClip, check_clips
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.prepare_features import prepare_features
from latentsync.models.vae import LatentCodec
from latentsync.training.run_folder import claim_run


def usable_clips(
    paths: Sequence[Path],
    min_frames: int,
    fps: float,
    features: ClipFeatures,
    report: Path,
    encoder: WhisperEncoder | None = None,
    codec: LatentCodec | None = None,
) -> list[TrainingClip]:
    """The usable ones of some clips; every process of a launcher computes its share of the features that are missing.

    Args:
        paths: the clips.
        min_frames: fewer frames than this are too short.
        fps: frames per second a clip must have.
        features: where features are cached.
        report: JSON in the run folder that lists what is skipped and why.
        encoder: makes Whisper rows; None makes none.
        codec: makes latents; None makes none.

    Raises:
        InputError: none can be used, the cache cannot be written, or the run folder is somebody else's.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if rank == 0:
        claim_run(report.parent)
    check = check_clips(paths, min_frames, fps, cache=features.cache.folder)
    if rank == 0:
        check.write_report(report)
    prepare_features(check.usable, features, encoder, codec, rank, world_size)
    return check.usable
