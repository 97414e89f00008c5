"""Computes what is missing in the cache before training begins, so that loader processes only read."""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures, clip_samples
from latentsync.data.video_window import read_frames
from latentsync.data.windows import model_pixels
from latentsync.errors import InputError
from latentsync.face.mask import keep_mask
from latentsync.models.vae import LatentCodec

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (number of clips done, number of clips) of this rank."""

_FRAMES_AT_ONCE = 16
_LOG_EVERY_S = 20.0
_LOOK_EVERY_S = 0.5


def prepare_features(
    clips: Sequence[TrainingClip],
    features: ClipFeatures,
    encoder: WhisperEncoder | None = None,
    codec: LatentCodec | None = None,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
    patience_s: float = 600.0,
) -> int:
    """Fill the cache with what is missing; number of clips for which this rank computed something.

    Every content is computed once, however often it is listed. What is there is kept, so an interrupted run goes on.
    Each rank computes its share, then waits for the shares of the others, so afterwards all features of all clips are
    there.

    Args:
        clips: all clips, the same list on every rank.
        features: the cache and its fingerprints.
        encoder: makes Whisper rows; None makes none.
        codec: makes latents (means, of crop and masked crop); None makes none.
        rank, world_size: which share.
        progress: hears after each clip.
        patience_s: after so many seconds without news of the other ranks, their shares are computed here as well
            (they may keep their cache elsewhere, or have ended).

    Raises:
        InputError: a clip cannot be decoded any more, or the cache cannot be written.
    """
    unique = list({clip.content_key: clip for clip in clips}.values())
    own = unique[rank::world_size]
    num_computed, last_word = 0, time.monotonic()
    for done, clip in enumerate(own, start=1):
        num_computed += _prepare(clip, features, encoder, codec)
        if progress is not None:
            progress(done, len(own))
        if num_computed and time.monotonic() - last_word > _LOG_EVERY_S:
            last_word = time.monotonic()
            logger.info("features of %d of %d clips are ready", done, len(own))
    if world_size > 1:
        keys = [key for clip in unique for key in _keys(clip, features, encoder, codec)]
        _wait_for(keys, features, patience_s)
        num_computed += sum(_prepare(clip, features, encoder, codec) for clip in unique)
    return num_computed


def _keys(
    clip: TrainingClip, features: ClipFeatures, encoder: WhisperEncoder | None, codec: LatentCodec | None
) -> list[str]:
    rows = [] if encoder is None else [features.rows_key(clip)]
    return rows if codec is None else [*rows, features.latents_key(clip)]


def _wait_for(keys: Sequence[str], features: ClipFeatures, patience_s: float) -> None:
    """Return when all arrays are there, or nothing new has come for `patience_s`."""
    missing, since = [key for key in keys if not features.cache.holds(key)], time.monotonic()
    while missing and time.monotonic() - since < patience_s:
        time.sleep(min(_LOOK_EVERY_S, patience_s))
        left = [key for key in missing if not features.cache.holds(key)]
        since = since if len(left) == len(missing) else time.monotonic()
        missing = left


def _prepare(
    clip: TrainingClip, features: ClipFeatures, encoder: WhisperEncoder | None, codec: LatentCodec | None
) -> bool:
    cache, wants_rows, wants_latents = features.cache, False, False
    if encoder is not None:
        key = features.rows_key(clip)
        wants_rows = cache.read(key) is None
        if wants_rows:
            cache.get(key, lambda: whisper_rows(clip, encoder))
    if codec is not None:
        key = features.latents_key(clip)
        wants_latents = cache.read(key) is None
        if wants_latents:
            cache.get(key, lambda: clip_latents(clip, codec, features.resolution))
    return wants_rows or wants_latents


def whisper_rows(clip: TrainingClip, encoder: WhisperEncoder) -> np.ndarray:
    """All feature rows of a clip's sound (rows, layers+1, width) float16."""
    sound = WhisperFeatures(encoder, ArraySamples(clip_samples(clip)))
    return sound.rows(0, sound.num_rows).half().cpu().numpy()


@torch.inference_mode()
def clip_latents(clip: TrainingClip, codec: LatentCodec, resolution: int) -> np.ndarray:
    """Latents of all frames (frames, 2, L, h, w) float16: crop, and crop times the mask; the distributions' means."""
    if resolution % codec.factor:
        raise InputError(f"data.resolution {resolution} is not a multiple of the VAE's {codec.factor}: choose another")
    keep = keep_mask(resolution)
    parts = []
    for start in range(0, clip.num_frames, _FRAMES_AT_ONCE):
        indices = range(start, min(start + _FRAMES_AT_ONCE, clip.num_frames))
        images = torch.from_numpy(model_pixels(read_frames(clip.path, indices, resolution)))
        both = torch.stack([images, images * keep], dim=1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        latents = codec.encode(both, _FRAMES_AT_ONCE).unflatten(0, (-1, 2))
        parts.append(latents.half().cpu().numpy())
    return np.concatenate(parts)
