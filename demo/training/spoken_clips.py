"""What the demo audio encoder hears: the speech of synthetic clips, with the true mouth at every row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from demo.synthetic.clip_set import Clip
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperMel
from latentsync.audio.whisper_model import CHUNK_ROWS, NUM_MELS
from latentsync.data.augmentation import change_speech
from latentsync.data.batching import ItemKey, item_generator, item_seed

_NUM_VARIANTS = 5
_VARIANT_STREAM = 7


class SpokenClips(Dataset):
    """Speech as it is or changed in one of four ways, which are made once and kept; named by `ItemKey`."""

    def __init__(self, clips: Sequence[Clip], seed: int, num_variants: int = _NUM_VARIANTS):
        self.clips = clips
        self.seed = seed
        self.num_variants = num_variants
        self.max_rows = min(max(len(_row_track(clip)) for clip in clips), CHUNK_ROWS)
        self._mels: dict[tuple[int, int], torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """`mel` (80, 2 max_rows) and `track` (max_rows, 2), zeros from `num_rows` on; `seed`, and `clip` its folder."""
        clip = self.clips[key.index]
        variant = int(item_generator(self.seed, key).integers(self.num_variants))
        heard, true = self._mel(key.index, variant), _row_track(clip)
        num_rows = min(heard.shape[1] // 2, len(true), self.max_rows)
        mel, track = torch.zeros(NUM_MELS, 2 * self.max_rows), np.zeros((self.max_rows, 2), dtype=np.float32)
        mel[:, : 2 * num_rows] = heard[:, : 2 * num_rows]
        track[:num_rows] = true[:num_rows]
        seed = item_seed(self.seed, key)
        return {"mel": mel, "track": track, "num_rows": num_rows, "seed": seed, "clip": str(clip.folder)}

    def _mel(self, index: int, variant: int) -> torch.Tensor:
        """Whisper's normalised log-mel (80, frames); variant 0 is the speech as it is."""
        if (index, variant) not in self._mels:
            samples = self.clips[index].speech()
            if variant:
                samples = change_speech(samples, np.random.default_rng([self.seed, _VARIANT_STREAM, index, variant]))
            mel = WhisperMel(ArraySamples(samples))
            self._mels[index, variant] = mel.frames(0, mel.num_frames)
        return self._mels[index, variant]


def _row_track(clip: Clip) -> np.ndarray:
    """The true mouth at every 20 ms row of the encoder."""
    return clip.track[::2]
