"""Training data of the demo audio encoder: speech of synthetic clips with the true mouth at every encoder row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from demo.synthetic.clip_set import Clip
from demo.training.demo_network import ClipItems
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperMel
from latentsync.audio.whisper_model import CHUNK_ROWS, NUM_MELS
from latentsync.data.augmentation import change_speech
from latentsync.data.batching import ItemKey, item_generator, item_seed

_NUM_VARIANTS = 5
_VARIANT_STREAM = 7
_MAX_PADDING_ROWS = 60
_MAX_CLIPS_PER_CHUNK = 5


class SpeechClips(ClipItems):
    """Mels of the clips' original speech, or of one of its augmented variants, which are computed once and kept.

    Args:
        clips: the clips.
        seed: of all random choices.
        num_variants: number of variants per clip, with the original speech as the first.
    """

    def __init__(self, clips: Sequence[Clip], seed: int, num_variants: int = _NUM_VARIANTS) -> None:
        super().__init__(clips, seed)
        self.num_variants = num_variants
        self.max_rows = min(max(len(_row_track(clip)) for clip in clips), CHUNK_ROWS)
        self._mels: dict[tuple[int, int], torch.Tensor] = {}

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        """Return one item.

        Returns:
            `mel` (80, 2 max_rows) and `track` (max_rows, 2), zero from `num_rows` on; `seed` of the random draws of
            the training step; `clip` its folder.
        """
        clip = self.clips[key.index]
        variant = int(item_generator(self.seed, key).integers(self.num_variants))
        clip_mel, clip_track = self._mel(key.index, variant), _row_track(clip)
        num_rows = min(clip_mel.shape[1] // 2, len(clip_track), self.max_rows)
        mel, track = torch.zeros(NUM_MELS, 2 * self.max_rows), np.zeros((self.max_rows, 2), dtype=np.float32)
        mel[:, : 2 * num_rows] = clip_mel[:, : 2 * num_rows]
        track[:num_rows] = clip_track[:num_rows]
        seed = item_seed(self.seed, key)
        return {"mel": mel, "track": track, "num_rows": num_rows, "seed": seed, "clip": str(clip.folder)}

    def _mel(self, index: int, variant: int) -> torch.Tensor:
        """Return Whisper's normalized log-mel (80, frames); variant 0 is the original speech."""
        if (index, variant) not in self._mels:
            samples = self.clips[index].speech()
            if variant:
                samples = change_speech(samples, np.random.default_rng([self.seed, _VARIANT_STREAM, index, variant]))
            mel = WhisperMel(ArraySamples(samples))
            self._mels[index, variant] = mel.frames(0, mel.num_frames)
        return self._mels[index, variant]


def _row_track(clip: Clip) -> np.ndarray:
    """Return the true mouth at every 20 ms row of the encoder."""
    return clip.track[::2]


@dataclass(frozen=True)
class SpeechChunks:
    """Inputs and targets of the audio encoder.

    Attributes:
        mel: (b, 80, 2 rows).
        track: (b, rows, 2), true mouth opening and width.
        known: (b, rows, 1), 1 for rows that count in the loss, 0 for padding.
    """

    mel: torch.Tensor
    track: torch.Tensor
    known: torch.Tensor


def single_clips(batch: Mapping[str, Any], generator: torch.Generator) -> SpeechChunks:
    """Return every clip of a batch by itself, padded with up to 1.2 s of zeros."""
    track, num_rows = batch["track"], batch["num_rows"]
    max_padding = min(_MAX_PADDING_ROWS, CHUNK_ROWS + 1 - track.shape[1])
    padding = int(torch.randint(max_padding, (), generator=generator))
    rows = torch.arange(track.shape[1] + padding, device=track.device)
    known = (rows < num_rows[:, None])[..., None].float()
    return SpeechChunks(F.pad(batch["mel"], (0, 2 * padding)), F.pad(track, (0, 0, 0, padding)), known)


def full_chunks(batch: Mapping[str, Any], num_chunks: int, generator: torch.Generator) -> SpeechChunks:
    """Return chunks of 30 s with one to five clips each, padded with zeros, as in inference.

    Clips fill the chunks in order and are reused if there are too few; the end of a clip that does not fit into its
    chunk is cut off.
    """
    mel, track, num_rows = batch["mel"], batch["track"], batch["num_rows"].tolist()
    chunks = SpeechChunks(
        mel.new_zeros(num_chunks, NUM_MELS, 2 * CHUNK_ROWS),
        track.new_zeros(num_chunks, CHUNK_ROWS, 2),
        track.new_zeros(num_chunks, CHUNK_ROWS, 1),
    )
    counts = torch.randint(1, _MAX_CLIPS_PER_CHUNK + 1, (num_chunks,), generator=generator)
    next_clip = 0
    for chunk, count in enumerate(counts.tolist()):
        end = 0
        for _ in range(count):
            clip = next_clip % len(num_rows)
            rows = min(num_rows[clip], CHUNK_ROWS - end)
            chunks.mel[chunk, :, 2 * end : 2 * (end + rows)] = mel[clip, :, : 2 * rows]
            chunks.track[chunk, end : end + rows] = track[clip, :rows]
            chunks.known[chunk, end : end + rows] = 1
            end += rows
            next_clip += 1
    return chunks
