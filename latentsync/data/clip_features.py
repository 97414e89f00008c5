"""Cached features of clips: Whisper rows, SyncNet mels, VAE latents and decoded frames, keyed by content and weights.

Training reads them as memory maps, and every process and later run shares them. Mels and frames are computed on first
use; Whisper rows and latents need networks and are computed beforehand by `latentsync.data.prepare_features`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from latentsync.audio.mel import syncnet_mel
from latentsync.audio.whisper_model import WhisperEncoder
from latentsync.data.augmentation import change_speech
from latentsync.data.batching import ItemKey
from latentsync.data.clip_check import TrainingClip
from latentsync.data.video_window import read_frames
from latentsync.errors import InputError
from latentsync.face.mask import keep_mask, lower_half
from latentsync.media.audio_samples import AudioSamples
from latentsync.models.vae import LatentCodec
from latentsync.storage.content_cache import ArrayCache, bytes_key, cache_key

_ROWS_VERSION, _MEL_VERSION, _LATENTS_VERSION, _FRAMES_VERSION = "rows-1", "mel-1", "latents-1", "frames-1"
"""Part of the cache keys: raise the number when a computation changes, so that its results are computed again."""
_LATENT_WEIGHTS = ("encoder.", "quant_conv.")
"""Prefixes of the VAE weights that determine its latents."""


@dataclass(frozen=True)
class ClipFeatures:
    """Features of clips in one cache.

    Attributes:
        cache: the stored arrays.
        resolution: side of the crops in pixels (latents and frames).
        encoder_key: fingerprint of the Whisper encoder's weights; None if no rows are needed.
        codec_key: fingerprint of the VAE's weights; None if no latents are needed.
    """

    cache: ArrayCache
    resolution: int
    encoder_key: str | None = None
    codec_key: str | None = None

    def whisper_rows(self, clip: TrainingClip) -> np.ndarray:
        """Return (rows, layers+1, width) float16, one row per 20 ms. Raises InputError if they are not prepared."""
        return self._prepared(self.rows_key(clip), clip)

    def latents(self, clip: TrainingClip, variant: int = 0) -> np.ndarray:
        """Return (frames, 2, L, h, w) float16, scaled latents of the crop and of the masked crop.

        Variants are those of `latentsync.data.augmentation.vary_frames`. Raises InputError if they are not prepared.
        """
        return self._prepared(self.latents_key(clip, variant), clip)

    def mel(self, clip: TrainingClip, variant: int = 0) -> np.ndarray:
        """Return the mel (80, T) float32 in [-4, 4], 80 columns per second, computed on first use.

        Variants above 0 are mels of augmented speech, the same in every run. Raises InputError if the clip's audio
        cannot be decoded.
        """
        key = cache_key(_MEL_VERSION, clip.content_key, variant)

        def make() -> np.ndarray:
            samples = clip_samples(clip)
            if variant > 0:
                samples = change_speech(samples, np.random.default_rng([variant, int(clip.content_key[:15], 16)]))
            return syncnet_mel(samples).numpy()

        return self.cache.get(key, make)

    def frames(self, clip: TrainingClip, only_lower_half: bool) -> np.ndarray:
        """Return (frames, h, R, 3) uint8 RGB: all frames of the clip, or their lower halves, decoded on first use."""
        key = cache_key(_FRAMES_VERSION, clip.content_key, self.resolution, int(only_lower_half))

        def make() -> np.ndarray:
            frames = read_frames(clip.path, range(clip.num_frames), self.resolution)
            return lower_half(frames, channels_last=True) if only_lower_half else frames

        return self.cache.get(key, make)

    def rows_key(self, clip: TrainingClip) -> str:
        """Return the cache key of a clip's Whisper rows."""
        if self.encoder_key is None:
            raise ValueError("these features have no audio encoder")
        return cache_key(_ROWS_VERSION, clip.content_key, self.encoder_key)

    def latents_key(self, clip: TrainingClip, variant: int = 0) -> str:
        """Return the cache key of the latents of a variant of a clip."""
        if self.codec_key is None:
            raise ValueError("these features have no VAE")
        mask_key = _mask_key(self.resolution)
        parts = (_LATENTS_VERSION, clip.content_key, self.codec_key, self.resolution, mask_key)
        return cache_key(*parts, variant) if variant else cache_key(*parts)

    def _prepared(self, key: str, clip: TrainingClip) -> np.ndarray:
        stored = self.cache.read(key)
        if stored is None:
            raise InputError(f"features of {clip.path} are not in {self.cache.folder}: run the same command again")
        return stored


class ClipDataset(Dataset[dict[str, Any]]):
    """Base of data sets with one item per clip and epoch, a function of (key, seed) alone.

    Args:
        clips: the clips; item (index, epoch) belongs to clip `index`.
        features: their cache.
        min_frames: smallest number of frames of a clip.
        seed: of all random choices.

    Raises:
        ValueError: a clip is too short.
    """

    def __init__(self, clips: Sequence[TrainingClip], features: ClipFeatures, min_frames: int, seed: int) -> None:
        short = next((clip for clip in clips if clip.num_frames < min_frames), None)
        if short is not None:
            raise ValueError(f"{short.path} has fewer than {min_frames} frames")
        self.clips, self.features, self.seed = list(clips), features, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        raise NotImplementedError


def clip_samples(clip: TrainingClip) -> np.ndarray:
    """Return the clip's audio (n,) float32 in [-1, 1), mono at 16 kHz. Raises InputError if it cannot be decoded."""
    with AudioSamples.decode(clip.path) as samples:
        return samples.read(0, samples.num_samples)


@lru_cache(maxsize=4)
def _mask_key(resolution: int) -> str:
    return bytes_key(keep_mask(resolution).numpy().tobytes())


def encoder_fingerprint(encoder: WhisperEncoder) -> str:
    """Return the fingerprint (40 hex digits) of an audio encoder's weights."""
    return _fingerprint(encoder.state_dict())


def codec_fingerprint(codec: LatentCodec) -> str:
    """Return the fingerprint (40 hex digits) of what determines a VAE's latents: its encoder, scale and shift."""
    state = {name: value for name, value in codec.vae.state_dict().items() if name.startswith(_LATENT_WEIGHTS)}
    return cache_key(_fingerprint(state), str(codec.scale), str(codec.shift))


def _fingerprint(state: Mapping[str, torch.Tensor]) -> str:
    parts = []
    for name in sorted(state):
        values = state[name].detach().to("cpu", torch.float32).contiguous().numpy()
        parts.append(f"{name} {values.shape} {bytes_key(values.tobytes())}")
    return cache_key(*parts)
