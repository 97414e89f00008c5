"""Compute missing cached features before training starts, so that data loader processes only read."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.augmentation import vary_frames
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, clip_samples
from latentsync.data.video_window import model_pixels, read_frames
from latentsync.errors import InputError
from latentsync.face.mask import keep_mask
from latentsync.models.vae import LatentCodec

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Callback that receives (number of finished clips, number of clips) of this rank."""

_BATCH_FRAMES = 16
_LOG_EVERY_S = 20.0
_POLL_EVERY_S = 0.5


def prepare_features(
    clips: Sequence[TrainingClip],
    features: ClipFeatures,
    encoder: WhisperEncoder | None = None,
    codec: LatentCodec | None = None,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
    timeout_s: float = 600.0,
    num_variants: int = 0,
) -> int:
    """Compute all missing features; return the number of clips for which this rank computed any.

    Each content is computed once, even if it is listed several times. Cached features are kept, so an interrupted
    call resumes. Each rank computes its share and then waits for the other ranks, so that all features of all clips
    are in the cache when it returns.

    Args:
        clips: all clips, the same list on every rank.
        features: the cache and its fingerprints.
        encoder: computes Whisper rows; None computes none.
        codec: computes latents (means, of crop and masked crop); None computes none.
        rank, world_size: this rank and the number of ranks.
        progress: called after each clip.
        timeout_s: after this many seconds without a new array from the other ranks, this rank computes their shares
            too (they may use another cache folder, or have ended).
        num_variants: number of variants of every clip whose latents are computed too, see `vary_frames`.

    Raises:
        InputError: a clip cannot be decoded any more, or the cache cannot be written.
    """
    unique = list({clip.content_key: clip for clip in clips}.values())
    own = unique[rank::world_size]
    num_computed, last_log_s = 0, time.monotonic()
    for num_done, clip in enumerate(own, start=1):
        num_computed += _prepare(clip, features, encoder, codec, num_variants)
        if progress is not None:
            progress(num_done, len(own))
        if num_computed and time.monotonic() - last_log_s > _LOG_EVERY_S:
            last_log_s = time.monotonic()
            logger.info("features of %d of %d clips are ready", num_done, len(own))
    if world_size > 1:
        keys = [key for clip in unique for key in _feature_keys(clip, features, encoder, codec, num_variants)]
        _wait_for(keys, features, timeout_s)
        num_computed += sum(_prepare(clip, features, encoder, codec, num_variants) for clip in unique)
    return num_computed


def _feature_keys(
    clip: TrainingClip,
    features: ClipFeatures,
    encoder: WhisperEncoder | None,
    codec: LatentCodec | None,
    num_variants: int,
) -> list[str]:
    rows = [] if encoder is None else [features.rows_key(clip)]
    variants = [] if codec is None else range(num_variants + 1)
    return [*rows, *(features.latents_key(clip, variant) for variant in variants)]


def _wait_for(keys: Sequence[str], features: ClipFeatures, timeout_s: float) -> None:
    """Wait until the cache holds all arrays, or no new one has appeared for `timeout_s`."""
    missing, since = [key for key in keys if not features.cache.holds(key)], time.monotonic()
    while missing and time.monotonic() - since < timeout_s:
        time.sleep(min(_POLL_EVERY_S, timeout_s))
        left = [key for key in missing if not features.cache.holds(key)]
        since = since if len(left) == len(missing) else time.monotonic()
        missing = left


def _prepare(
    clip: TrainingClip,
    features: ClipFeatures,
    encoder: WhisperEncoder | None,
    codec: LatentCodec | None,
    num_variants: int,
) -> bool:
    """Compute the missing features of one clip; return True if any was missing."""
    missing: dict[str, Callable[[], np.ndarray]] = {}
    if encoder is not None:
        missing[features.rows_key(clip)] = lambda: compute_whisper_rows(clip, encoder)
    if codec is not None:
        for variant in range(num_variants + 1):
            compute = partial(compute_latents, clip, codec, features.resolution, variant)
            missing[features.latents_key(clip, variant)] = compute
    missing = {key: compute for key, compute in missing.items() if features.cache.read(key) is None}
    for key, compute in missing.items():
        features.cache.get(key, compute)
    return bool(missing)


def compute_whisper_rows(clip: TrainingClip, encoder: WhisperEncoder) -> np.ndarray:
    """Compute all Whisper rows (rows, layers+1, width) float16 of a clip's audio."""
    computed = WhisperFeatures(encoder, ArraySamples(clip_samples(clip)))
    return computed.rows(0, computed.num_rows).half().cpu().numpy()


@torch.inference_mode()
def compute_latents(clip: TrainingClip, codec: LatentCodec, resolution: int, variant: int = 0) -> np.ndarray:
    """Compute latents (frames, 2, L, h, w) float16 of all crops and masked crops of a variant of a clip.

    They are the means of their distributions.
    """
    if resolution % codec.factor:
        raise InputError(f"data.resolution {resolution} is not a multiple of the VAE's {codec.factor}: choose another")
    keep = keep_mask(resolution)
    parts = []
    for start in range(0, clip.num_frames, _BATCH_FRAMES):
        indices = range(start, min(start + _BATCH_FRAMES, clip.num_frames))
        frames = vary_frames(read_frames(clip.path, indices, resolution), variant, clip.content_key)
        images = torch.from_numpy(model_pixels(frames))
        both = torch.stack([images, images * keep], dim=1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        latents = codec.encode(both, _BATCH_FRAMES).unflatten(0, (-1, 2))
        parts.append(latents.half().cpu().numpy())
    return np.concatenate(parts)
