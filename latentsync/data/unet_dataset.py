"""U-Net data set: a window of frames, its audio tokens, and a reference window that does not overlap it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from latentsync.audio.mel import mel_window
from latentsync.audio.whisper_features import frame_rows
from latentsync.data.augmentation import vary_frames
from latentsync.data.batching import ItemKey, item_generator, item_seed
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipDataset, ClipFeatures
from latentsync.data.video_window import model_pixels, read_frames

_MAX_VALUES = {"resolution": 4096, "num_frames": 4096, "video_fps": 240, "num_mel_columns": 1 << 20}


@dataclass
class UNetDataConfig:
    """Clips and windows of a U-Net training.

    Attributes:
        resolution: side of the aligned face crop, in pixels; clips of another size are resized.
        num_frames: frames per window.
        video_fps: frames per second of the clips; clips at another rate are skipped.
        audio_sample_rate: samples per second of the audio encoder's input; only 16000 is supported.
        num_mel_columns: mel columns per window, for the sync loss.
        train_clips: folder of clips, or a text file with one path per line.
        validation_clips: the same for held-out clips.
        cache_dir: folder for features that are computed once per clip (audio features, latents).
        cache_latents: cache the VAE latents of every clip (the mean of their distribution) instead of encoding frames
            in every step.
        sample_latents: sample latents from the VAE's distribution in every step, as published, instead of its mean.
        windows_per_clip: number of different windows of a clip, with their noise, which every so many epochs come
            again; None: new ones in every epoch.
        frame_variants: number of variants of every clip beside itself, of which each item takes one: mirrored, with a
            small colour change, and both by turns.
    """

    resolution: int = 256
    num_frames: int = 16
    video_fps: int = 25
    audio_sample_rate: int = 16000
    num_mel_columns: int = 52
    train_clips: str | None = None
    validation_clips: str | None = None
    cache_dir: str = "cache"
    cache_latents: bool = False
    sample_latents: bool = False
    windows_per_clip: int | None = None
    frame_variants: int = 0

    def __post_init__(self) -> None:
        for name, max_value in _MAX_VALUES.items():
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at least 1")
            if getattr(self, name) > max_value:
                raise ValueError(f"data.{name} is {getattr(self, name)}: use at most {max_value}")
        if self.audio_sample_rate != 16000:
            raise ValueError(f"data.audio_sample_rate is {self.audio_sample_rate}: only 16000 is supported")
        if self.windows_per_clip is not None and self.windows_per_clip < 1:
            raise ValueError(f"data.windows_per_clip is {self.windows_per_clip}: use at least 1, or null")
        if self.frame_variants < 0:
            raise ValueError(f"data.frame_variants is {self.frame_variants}: use at least 0")
        if self.cache_latents and self.sample_latents:
            raise ValueError(
                "data.cache_latents stores means, data.sample_latents samples in every step: set one of them to false"
            )

    @property
    def min_frames(self) -> int:
        """Smallest number of frames of a clip: one window and a reference window that does not overlap it."""
        return 2 * self.num_frames


class AudioTokens(Protocol):
    """Source of the audio of a window; picklable for the processes of the data loader."""

    def __call__(self, clip: TrainingClip, start: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the tokens (num_frames, 10 (layers+1), width) float32 of a window.

        Args:
            clip: the clip.
            start: first frame of the window.
            num_frames: frames of the window.
            rng: source of random choices.
        """
        ...


@dataclass(frozen=True)
class OwnAudio:
    """The audio tokens of the clip itself, from its cached Whisper rows."""

    features: ClipFeatures
    fps: int

    def __call__(self, clip: TrainingClip, start: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
        """Return the tokens of a window, see `AudioTokens`."""
        rows = self.features.whisper_rows(clip)
        numbers = [frame_rows(frame, Fraction(self.fps), len(rows)) for frame in range(start, start + num_frames)]
        return rows[np.array(numbers)].reshape(num_frames, -1, rows.shape[-1]).astype(np.float32)


class UNetDataset(ClipDataset):
    """One item per clip and epoch, a function of (key, seed) alone.

    Keys of an item (f frames, R resolution; L, h, w of the latents):
        audio: (f, 10 (layers+1), width) float32 tokens of the target window.
        latents, masked_latents, reference_latents: (f, L, h, w) float32, with `cache_latents`.
        pixels, reference: (f, 3, R, R) float32 in [-1, 1], without `cache_latents`; `pixels` also with `load_pixels`.
        mel: (1, 80, columns) float32 of the target window, with `load_mel`.
        clip, clip_key: path of the clip, and the hash of its content.
        start, reference_start: first frames of the target and the reference window.
        seed: int in [0, 2**63) of the random draws of the training step.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        features: ClipFeatures,
        config: UNetDataConfig,
        seed: int,
        load_pixels: bool = False,
        load_mel: bool = False,
        audio: AudioTokens | None = None,
    ) -> None:
        """Initialize the data set.

        Args:
            clips: clips of at least `config.min_frames` frames.
            features: their cache, with Whisper rows and, with `cache_latents`, latents prepared.
            config: resolution and windows.
            seed: of all random choices.
            load_pixels: add `pixels` to items with cached latents.
            load_mel: add `mel` to the items.
            audio: source of the audio tokens; None: the clip's own audio.

        Raises:
            ValueError: a clip is too short.
        """
        super().__init__(clips, features, config.min_frames, seed)
        self.config = config
        self.load_pixels, self.load_mel = load_pixels, load_mel
        self.audio = OwnAudio(features, config.video_fps) if audio is None else audio

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        if self.config.windows_per_clip is not None:
            key = ItemKey(key.index, key.epoch % self.config.windows_per_clip)
        clip = self.clips[key.index]
        rng = item_generator(self.seed, key)
        start, reference_start = draw_windows(rng, clip.num_frames, self.config.num_frames)
        variant = int(rng.integers(self.config.frame_variants + 1)) if self.config.frame_variants else 0
        item = {
            "audio": self.audio(clip, start, self.config.num_frames, rng),
            "clip": str(clip.path),
            "clip_key": clip.content_key,
            "start": start,
            "reference_start": reference_start,
            "seed": item_seed(self.seed, key),
            "variant": variant,
        }
        if self.config.cache_latents:
            item |= self._latents(clip, variant, start, reference_start)
        item |= self._pixels(clip, variant, start, reference_start)
        if self.load_mel:
            mel = mel_window(
                self.features.mel(clip), start, self.config.video_fps, self.config.num_mel_columns, repeat_last=True
            )
            item["mel"] = mel[None]
        return item

    def _latents(self, clip: TrainingClip, variant: int, start: int, reference_start: int) -> dict[str, np.ndarray]:
        latents, length = self.features.latents(clip, variant), self.config.num_frames
        target = latents[start : start + length].astype(np.float32)
        reference = latents[reference_start : reference_start + length, 0].astype(np.float32)
        return {"latents": target[:, 0], "masked_latents": target[:, 1], "reference_latents": reference}

    def _pixels(self, clip: TrainingClip, variant: int, start: int, reference_start: int) -> dict[str, np.ndarray]:
        cached, length = self.config.cache_latents, self.config.num_frames
        if cached and not self.load_pixels:
            return {}
        indices = [*range(start, start + length)]
        if not cached:
            indices += range(reference_start, reference_start + length)
        read = read_frames(clip.path, indices, self.config.resolution)
        frames = model_pixels(vary_frames(read, variant, clip.content_key))
        if cached:
            return {"pixels": frames}
        return {"pixels": frames[:length], "reference": frames[length:]}


def draw_windows(rng: np.random.Generator, num_frames: int, length: int) -> tuple[int, int]:
    """Draw the first frames of a target and a reference window of `length` frames that do not overlap.

    The target start is uniform over all starts that leave room for a reference window, the reference start over all
    remaining ones. Raises ValueError if the clip has fewer than 2 `length` frames.
    """
    if num_frames < 2 * length:
        raise ValueError(f"{num_frames} frames have no room for two windows of {length}")
    starts = np.arange(num_frames - length + 1)
    start = int(rng.choice(starts[(starts >= length) | (starts <= num_frames - 2 * length)]))
    reference_start = int(rng.choice(starts[np.abs(starts - start) >= length]))
    return start, reference_start
