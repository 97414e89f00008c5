"""Items of the SyncNet: a window of pictures, its own sound, and sound from another time of the same clip."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.image_augmentation import change_colour, lower_half, random_colour
from latentsync.data.item_key import ItemKey, item_generator, item_seed
from latentsync.data.syncnet_data_config import NEAR_FRAMES, SyncNetDataConfig
from latentsync.data.video_window import read_frames
from latentsync.data.windows import mel_columns, model_pixels


class SyncNetDataset(Dataset[dict[str, Any]]):
    """One item per clip and epoch, a function of (key, seed) alone.

    An item holds (f frames):
        frames: (f, 3, h, w) float32 in [-1, 1], lower halves or whole crops; (f, L, h, w) latents with `latent_space`.
        mel: (1, 80, columns) float32 of the same window (moved by `audio_offset_frames`).
        other_mel: the same of another start of the same clip, at least `min_offset_frames` away.
        clip: path of the clip. start: first frame of the window. other_start: of the other sound.
        seed: int in [0, 2**63), for what the training step draws for this item.
    """

    def __init__(
        self, clips: Sequence[TrainingClip], features: ClipFeatures, config: SyncNetDataConfig, seed: int
    ) -> None:
        """clips: of at least `config.min_frames` frames; features: with prepared latents for `latent_space`."""
        short = next((clip for clip in clips if clip.num_frames < config.min_frames), None)
        if short is not None:
            raise ValueError(f"{short.path} has fewer than {config.min_frames} frames")
        self.clips, self.features, self.config, self.seed = list(clips), features, config, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        clip, config = self.clips[key.index], self.config
        rng = item_generator(self.seed, key)
        start, other_start = draw_pair(rng, clip.num_frames, config)
        mel = self.features.mel(clip, int(rng.integers(config.mel_variants)))
        return {
            "frames": self._frames(clip, start, rng),
            "mel": self._sound(mel, start),
            "other_mel": self._sound(mel, other_start),
            "clip": str(clip.path),
            "start": start,
            "other_start": other_start,
            "seed": item_seed(self.seed, key),
        }

    def _sound(self, mel: np.ndarray, start: int) -> np.ndarray:
        frame = start + self.config.audio_offset_frames
        return mel_columns(mel, frame, self.config.video_fps, self.config.num_mel_columns)

    def _frames(self, clip: TrainingClip, start: int, rng: np.random.Generator) -> np.ndarray:
        window = slice(start, start + self.config.num_frames)
        if self.config.latent_space:
            return self.features.latents(clip)[window, 0].astype(np.float32)
        frames = self._pictures(clip, window)
        if rng.random() < self.config.mirror:
            frames = frames[:, :, ::-1]
        if self.config.colour_jitter == 0:
            return model_pixels(frames)
        changed = change_colour(frames / np.float32(255), *random_colour(rng, self.config.colour_jitter))
        return np.ascontiguousarray(changed.transpose(0, 3, 1, 2)) * np.float32(2) - np.float32(1)

    def _pictures(self, clip: TrainingClip, window: slice) -> np.ndarray:
        """(f, h, w, 3) uint8 of a window, whole or lower halves."""
        if self.config.cache_frames:
            return self.features.frames(clip, self.config.lower_half)[window]
        frames = read_frames(clip.path, range(window.start, window.stop), self.config.resolution)
        return lower_half(frames) if self.config.lower_half else frames


def draw_pair(rng: np.random.Generator, num_frames: int, config: SyncNetDataConfig) -> tuple[int, int]:
    """First frames of a window and of another sound of a clip of `num_frames` frames.

    The window is uniform over all starts whose sound lies in the clip, the other uniform over those at least
    `min_offset_frames` away; with the chance `near_share` over those of them at most `NEAR_FRAMES` away, if any.
    Raises ValueError where a clip is shorter than `config.min_frames`.
    """
    if num_frames < config.min_frames:
        raise ValueError(f"{num_frames} frames are fewer than the {config.min_frames} a pair needs")
    first = max(0, -config.audio_offset_frames)
    last = num_frames - config.num_frames - max(0, config.audio_offset_frames)
    start = int(rng.integers(first, last + 1))
    starts = np.arange(first, last + 1)
    distance = np.abs(starts - start)
    far = starts[distance >= config.min_offset_frames]
    near = starts[(distance >= config.min_offset_frames) & (distance <= NEAR_FRAMES)]
    is_near = rng.random() < config.near_share
    return start, int(rng.choice(near if is_near and len(near) else far))
