"""SyncNet data set: a window of frames, its audio, and audio from another time of the same clip as a negative."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from latentsync.audio.mel import mel_window
from latentsync.data.augmentation import change_colour, random_colour
from latentsync.data.batching import ItemKey, collate, item_generator, item_seed
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipDataset, ClipFeatures
from latentsync.data.video_window import model_pixels, read_frames
from latentsync.face.mask import lower_half
from latentsync.models.syncnet_input import SyncNetInput

NEAR_FRAMES = 15
"""Negatives at most this many frames away are "near": the range of offsets that a sync score covers."""


@dataclass
class SyncNetDataConfig(SyncNetInput):
    """Clips, windows and negatives of a SyncNet training.

    Attributes:
        audio_sample_rate: samples per second of the audio; only 16000 is supported.
        train_clips: folder of clips, or a text file with one path per line.
        validation_clips: the same for held-out clips.
        cache_dir: folder for features that are computed once per clip (mels, latents).
        cache_frames: cache the decoded frames of every clip (4 MB for 6 s of 128 px lower halves) instead of decoding
            them for every item; for small data sets on few cores.
        min_offset_frames: smallest distance in frames between the audio of a window and of its negative
            (published: 1).
        near_share: share of the negatives drawn from at most 15 frames away, if the clip has any.
        mirror: share of the windows that are mirrored left to right.
        colour_jitter: strength of one random colour change per window, 0 (none) to 1.
        mel_variants: number of mels per clip: that of the original audio, and others of augmented audio (gain,
            spectrum, room, noise); each item uses one of them.
        audio_offset_frames: shift of the audio against the video in frames; 0 except in studies of data that is out
            of sync.
    """

    audio_sample_rate: int = 16000
    train_clips: str | None = None
    validation_clips: str | None = None
    cache_dir: str = "cache"
    cache_frames: bool = False
    min_offset_frames: int = 1
    near_share: float = 0.0
    mirror: float = 0.0
    colour_jitter: float = 0.0
    mel_variants: int = 1
    audio_offset_frames: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_offset_frames", "mel_variants"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at least 1")
        for name in ("near_share", "mirror", "colour_jitter"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use 0 to 1")
        if self.audio_sample_rate != 16000:
            raise ValueError(f"data.audio_sample_rate is {self.audio_sample_rate}: only 16000 is supported")
        if self.latent_space and (self.mirror or self.colour_jitter):
            raise ValueError("data.mirror and data.colour_jitter change pixels: set them to 0 with data.latent_space")
        if self.latent_space and self.lower_half:
            raise ValueError("data.latent_space uses whole crops: set data.lower_half to false")

    @property
    def min_frames(self) -> int:
        """Smallest number of frames of a clip: each window has a negative, and the shifted audio lies inside it."""
        return self.num_frames + 2 * self.min_offset_frames - 1 + abs(self.audio_offset_frames)


class SyncNetDataset(ClipDataset):
    """One item per clip and epoch, a function of (key, seed) alone.

    Keys of an item (f frames):
        frames: (f, 3, h, w) float32 in [-1, 1], lower halves or whole crops; (f, L, h, w) latents with `latent_space`.
        mel: (1, 80, columns) float32 of the same window (shifted by `audio_offset_frames`).
        other_mel: mel of another window of the same clip, at least `min_offset_frames` away.
        clip: path of the clip.
        start, other_start: first frames of the window and of the negative audio.
        seed: int in [0, 2**63) of the random draws of the training step.
    """

    def __init__(
        self, clips: Sequence[TrainingClip], features: ClipFeatures, config: SyncNetDataConfig, seed: int
    ) -> None:
        """Initialize the data set.

        Args:
            clips: clips of at least `config.min_frames` frames.
            features: their cache, with latents prepared if `latent_space` is set.
            config: windows, negatives and augmentation.
            seed: of all random choices.

        Raises:
            ValueError: a clip is too short.
        """
        super().__init__(clips, features, config.min_frames, seed)
        self.config = config

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        clip, config = self.clips[key.index], self.config
        rng = item_generator(self.seed, key)
        start, other_start = draw_pair(rng, clip.num_frames, config)
        mel = self.features.mel(clip, int(rng.integers(config.mel_variants)))
        return {
            "frames": self._frames(clip, start, rng),
            "mel": self._mel_window(mel, start),
            "other_mel": self._mel_window(mel, other_start),
            "clip": str(clip.path),
            "start": start,
            "other_start": other_start,
            "seed": item_seed(self.seed, key),
        }

    def _mel_window(self, mel: np.ndarray, start: int) -> np.ndarray:
        config, frame = self.config, start + self.config.audio_offset_frames
        return mel_window(mel, frame, config.video_fps, config.num_mel_columns, repeat_last=True)[None]

    def _frames(self, clip: TrainingClip, start: int, rng: np.random.Generator) -> np.ndarray:
        window = slice(start, start + self.config.num_frames)
        if self.config.latent_space:
            return self.features.latents(clip)[window, 0].astype(np.float32)
        frames = self._read_window(clip, window)
        if rng.random() < self.config.mirror:
            frames = frames[:, :, ::-1]
        if self.config.colour_jitter == 0:
            return model_pixels(frames)
        changed = change_colour(frames / np.float32(255), *random_colour(rng, self.config.colour_jitter))
        return np.ascontiguousarray(changed.transpose(0, 3, 1, 2)) * np.float32(2) - np.float32(1)

    def _read_window(self, clip: TrainingClip, window: slice) -> np.ndarray:
        """Return the crops of a window, whole or lower halves, as (f, h, w, 3) uint8."""
        if self.config.cache_frames:
            return self.features.frames(clip, self.config.lower_half)[window]
        frames = read_frames(clip.path, range(window.start, window.stop), self.config.resolution)
        return lower_half(frames, channels_last=True) if self.config.lower_half else frames


def draw_pair(rng: np.random.Generator, num_frames: int, config: SyncNetDataConfig) -> tuple[int, int]:
    """Draw the first frames of a window and of the negative audio in a clip of `num_frames` frames.

    The window is uniform over all starts whose audio lies inside the clip. The negative is uniform over the starts at
    least `min_offset_frames` away; with probability `near_share`, over those of them at most `NEAR_FRAMES` away, if
    any. Raises ValueError if the clip is shorter than `config.min_frames`.
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


class WindowDataset(Protocol):
    """Interface of a map-style data set of single windows, such as `SyncNetDataset`."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey) -> dict[str, Any]: ...


class WindowGroups:
    """Data set whose items hold `windows_per_clip` windows of one clip, stacked along a new first dimension.

    A training step can then compare every window of a clip with every audio window of it. Window j of item
    (index, epoch) is item (index, epoch * windows_per_clip + j) of the wrapped data set, so an item is a function of
    its key, and no window is drawn twice.
    """

    def __init__(self, windows: WindowDataset, windows_per_clip: int) -> None:
        if windows_per_clip < 1:
            raise ValueError(f"windows_per_clip is {windows_per_clip}: use at least 1")
        self.windows = windows
        self.windows_per_clip = windows_per_clip

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        first = key.epoch * self.windows_per_clip
        items = [self.windows[ItemKey(key.index, first + number)] for number in range(self.windows_per_clip)]
        group = collate(items)
        return group | {"clip": items[0]["clip"], "seed": items[0]["seed"]}
