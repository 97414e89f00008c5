"""Items of the U-Net: a window of frames, its audio tokens, and a reference window that does not overlap it."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from latentsync.audio.frame_tokens import frame_rows
from latentsync.data.clip_check import TrainingClip
from latentsync.data.clip_features import ClipFeatures
from latentsync.data.item_key import ItemKey, item_generator, item_seed
from latentsync.data.unet_data_config import UNetDataConfig
from latentsync.data.video_window import read_frames
from latentsync.data.windows import mel_columns, model_pixels


class UNetDataset(Dataset[dict[str, Any]]):
    """One item per clip and epoch, a function of (key, seed) alone.

    An item holds (f frames, R resolution, L, h, w of the latents):
        audio: (f, 10 (layers+1), width) float32 tokens of the target window.
        latents, masked_latents, reference_latents: (f, L, h, w) float32, with `cache_latents`.
        pixels, reference: (f, 3, R, R) float32 in [-1, 1], without `cache_latents`; `pixels` also with `wants_pixels`.
        mel: (1, 80, columns) float32 of the target window, with `wants_mel`.
        clip: path of the clip. start: first frame of the target window. reference_start: of the reference window.
        seed: int in [0, 2**63), for what the training step draws for this item.
    """

    def __init__(
        self,
        clips: Sequence[TrainingClip],
        features: ClipFeatures,
        config: UNetDataConfig,
        seed: int,
        wants_pixels: bool = False,
        wants_mel: bool = False,
    ) -> None:
        """clips: of at least `config.min_frames` frames; features: prepared, where they are cached ones."""
        short = next((clip for clip in clips if clip.num_frames < config.min_frames), None)
        if short is not None:
            raise ValueError(f"{short.path} has fewer than {config.min_frames} frames")
        self.clips, self.features, self.config, self.seed = list(clips), features, config, seed
        self.wants_pixels, self.wants_mel = wants_pixels, wants_mel

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        clip = self.clips[key.index]
        start, reference_start = draw_windows(item_generator(self.seed, key), clip.num_frames, self.config.num_frames)
        item = {
            "audio": self._tokens(clip, start),
            "clip": str(clip.path),
            "start": start,
            "reference_start": reference_start,
            "seed": item_seed(self.seed, key),
        }
        if self.config.cache_latents:
            item |= self._latents(clip, start, reference_start)
        item |= self._pixels(clip, start, reference_start)
        if self.wants_mel:
            mel = self.features.mel(clip)
            item["mel"] = mel_columns(mel, start, self.config.video_fps, self.config.num_mel_columns)
        return item

    def _tokens(self, clip: TrainingClip, start: int) -> np.ndarray:
        rows = self.features.whisper_rows(clip)
        fps = Fraction(self.config.video_fps)
        numbers = [frame_rows(frame, fps, len(rows)) for frame in range(start, start + self.config.num_frames)]
        return rows[np.array(numbers)].reshape(len(numbers), -1, rows.shape[-1]).astype(np.float32)

    def _latents(self, clip: TrainingClip, start: int, reference_start: int) -> dict[str, np.ndarray]:
        latents, length = self.features.latents(clip), self.config.num_frames
        target = latents[start : start + length].astype(np.float32)
        reference = latents[reference_start : reference_start + length, 0].astype(np.float32)
        return {"latents": target[:, 0], "masked_latents": target[:, 1], "reference_latents": reference}

    def _pixels(self, clip: TrainingClip, start: int, reference_start: int) -> dict[str, np.ndarray]:
        cached, length = self.config.cache_latents, self.config.num_frames
        if cached and not self.wants_pixels:
            return {}
        indices = [*range(start, start + length)]
        if cached:
            return {"pixels": model_pixels(read_frames(clip.path, indices, self.config.resolution))}
        indices += range(reference_start, reference_start + length)
        frames = model_pixels(read_frames(clip.path, indices, self.config.resolution))
        return {"pixels": frames[:length], "reference": frames[length:]}


def draw_windows(rng: np.random.Generator, num_frames: int, length: int) -> tuple[int, int]:
    """First frames of a target and of a reference window of `length` frames that do not overlap.

    The target is uniform over all starts that leave room for a reference, the reference over what is left.
    Raises ValueError where the clip has fewer than 2 `length` frames.
    """
    if num_frames < 2 * length:
        raise ValueError(f"{num_frames} frames have no room for two windows of {length}")
    starts = np.arange(num_frames - length + 1)
    start = int(rng.choice(starts[(starts >= length) | (starts <= num_frames - 2 * length)]))
    reference_start = int(rng.choice(starts[np.abs(starts - start) >= length]))
    return start, reference_start
