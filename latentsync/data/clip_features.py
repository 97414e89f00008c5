"""Cached views of a clip: Whisper rows, SyncNet mels, VAE latents and decoded frames, by content and weights.

Training reads them through memory maps; whoever makes one first makes it for all. Mels and frames are made where they
are asked for; Whisper rows and latents need networks and are made beforehand, by `latentsync.data.prepare_features`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from latentsync.audio.mel import syncnet_mel
from latentsync.data.clip_check import TrainingClip
from latentsync.data.image_augmentation import lower_half
from latentsync.data.sound_augmentation import change_sound
from latentsync.data.video_window import read_frames
from latentsync.errors import InputError
from latentsync.face.mask import keep_mask
from latentsync.media.audio_samples import AudioSamples
from latentsync.storage.content_cache import ArrayCache, bytes_key, cache_key

_ROWS_VERSION, _MEL_VERSION, _LATENTS_VERSION, _FRAMES_VERSION = "rows-1", "mel-1", "latents-1", "frames-1"
"""Recipes of what is cached; change one and it is computed anew."""


@dataclass(frozen=True)
class ClipFeatures:
    """Features of clips in one cache.

    Attributes:
        cache: where they are kept.
        resolution: side of the crops in pixels (latents and frames).
        encoder_key: fingerprint of the Whisper encoder's weights; None where no rows are needed.
        codec_key: fingerprint of the VAE's weights; None where no latents are needed.
    """

    cache: ArrayCache
    resolution: int
    encoder_key: str | None = None
    codec_key: str | None = None

    def whisper_rows(self, clip: TrainingClip) -> np.ndarray:
        """(rows, layers+1, width) float16, one row per 20 ms. Raises InputError where they are not prepared."""
        return self._prepared(self.rows_key(clip), clip)

    def latents(self, clip: TrainingClip) -> np.ndarray:
        """(frames, 2, L, h, w) float16: the crop and the masked crop, scaled; InputError where not prepared."""
        return self._prepared(self.latents_key(clip), clip)

    def mel(self, clip: TrainingClip, variant: int = 0) -> np.ndarray:
        """(80, T) float32 in [-4, 4], 80 columns a second; variants above 0 are of changed sound, the same every time.

        Made where it is not there. Raises InputError where the clip's sound cannot be decoded.
        """
        key = cache_key(_MEL_VERSION, clip.content_key, variant)

        def make() -> np.ndarray:
            samples = clip_samples(clip)
            if variant > 0:
                samples = change_sound(samples, np.random.default_rng([variant, int(clip.content_key[:15], 16)]))
            return syncnet_mel(samples).numpy()

        return self.cache.get(key, make)

    def frames(self, clip: TrainingClip, only_lower_half: bool) -> np.ndarray:
        """(frames, h, R, 3) uint8 RGB, all frames of the clip or their lower halves; made where it is not there."""
        key = cache_key(_FRAMES_VERSION, clip.content_key, self.resolution, int(only_lower_half))

        def make() -> np.ndarray:
            frames = read_frames(clip.path, range(clip.num_frames), self.resolution)
            return lower_half(frames) if only_lower_half else frames

        return self.cache.get(key, make)

    def rows_key(self, clip: TrainingClip) -> str:
        """Cache key of a clip's Whisper rows."""
        if self.encoder_key is None:
            raise ValueError("these features have no audio encoder")
        return cache_key(_ROWS_VERSION, clip.content_key, self.encoder_key)

    def latents_key(self, clip: TrainingClip) -> str:
        """Cache key of a clip's latents."""
        if self.codec_key is None:
            raise ValueError("these features have no VAE")
        mask_key = _mask_key(self.resolution)
        return cache_key(_LATENTS_VERSION, clip.content_key, self.codec_key, self.resolution, mask_key)

    def _prepared(self, key: str, clip: TrainingClip) -> np.ndarray:
        stored = self.cache.read(key)
        if stored is None:
            raise InputError(f"features of {clip.path} are not in {self.cache.folder}: run the same command again")
        return stored


def clip_samples(clip: TrainingClip) -> np.ndarray:
    """The clip's sound (n,) float32 in [-1, 1) at 16 kHz, mono. Raises InputError where it cannot be decoded."""
    with AudioSamples.decode(clip.path) as samples:
        return samples.read(0, samples.num_samples)


@lru_cache(maxsize=4)
def _mask_key(resolution: int) -> str:
    return bytes_key(keep_mask(resolution).numpy().tobytes())
