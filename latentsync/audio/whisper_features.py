"""Whisper features of a sound of any length, one row per 20 ms, computed piece by piece on demand.

Up to 30 s the sound is one zero-padded piece. Longer sounds are cut into full 30 s pieces that overlap by 10 s or more,
and of each only the middle is used, so that every kept row has heard at least about 5 s on both sides. Whisper adds
absolute positions to its features, so two pieces differ where they meet (5 times as much as neighbouring rows do);
there they are cross-faded over half a second, which makes the seam as smooth as the rest. The published system cuts
pieces of 30 s that do not overlap and pads the last one with zeros; `as_published` does the same.
"""

from collections import OrderedDict

import torch
from torch import Tensor

from latentsync.audio.sample_source import SampleSource
from latentsync.audio.whisper_mel import WhisperMel
from latentsync.audio.whisper_model import NUM_MELS, PIECE_FRAMES, PIECE_ROWS, WhisperEncoder

ROWS_PER_SECOND = 50
"""Feature rows of 20 ms."""

_OVERLAP_ROWS = 500
_FADE_ROWS = 26
_PIECES_HELD = 3


class WhisperFeatures:
    """Feature rows (row, layers+1, width) of a sound, in the encoder's precision and on its device.

    `num_rows` is half the number of mel frames; of an odd number the last 10 ms are not given a row. A few pieces are
    held (12 MB each for `tiny`, 60 MB for `small`), so reading forwards, or backwards, computes each piece once.
    """

    def __init__(self, encoder: WhisperEncoder, samples: SampleSource, as_published: bool = False) -> None:
        """Raises InputError where the sound is shorter than 20 ms.

        as_published: cut the sound into pieces that do not overlap, the last one padded with zeros.
        """
        self._encoder = encoder
        self._mel = WhisperMel(samples)
        self.num_rows = self._mel.num_frames // 2
        self._starts = list(range(0, self.num_rows, PIECE_ROWS)) if as_published else _piece_starts(self.num_rows)
        self._fade_rows = 0 if as_published else _FADE_ROWS
        self._pieces: OrderedDict[int, Tensor] = OrderedDict()

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows [start, stop) as (stop - start, layers+1, width); ValueError outside 0..num_rows."""
        if not 0 <= start < stop <= self.num_rows:
            raise ValueError(f"rows {start}..{stop} are outside 0..{self.num_rows}")
        result: Tensor | None = None
        position = torch.arange(start, stop, device=self._encoder.device)
        for index in range(len(self._starts)):
            low, high = self._kept(index)
            low, high = max(low, start), min(high, stop)
            if low >= high:
                continue
            offset = self._starts[index]
            part = self._piece(index)[low - offset : high - offset]
            if low == start and high == stop and self._is_alone(index, start, stop):
                return part.clone()
            if result is None:
                result = torch.zeros(stop - start, *part.shape[1:], device=part.device, dtype=torch.float32)
            weight = self._weight(index, position[low - start : high - start])
            result[low - start : high - start] += weight[:, None, None] * part
        assert result is not None
        return result.to(self._encoder.dtype)

    def _seam(self, index: int) -> int:
        """Row in the middle of what pieces index and index + 1 share."""
        return (self._starts[index] + PIECE_ROWS + self._starts[index + 1]) // 2

    def _kept(self, index: int) -> tuple[int, int]:
        """Rows to which a piece contributes, cross-fades included."""
        low = self._seam(index - 1) - self._fade_rows // 2 if index > 0 else 0
        high = self._seam(index) + self._fade_rows // 2 if index + 1 < len(self._starts) else self.num_rows
        return low, high

    def _is_alone(self, index: int, start: int, stop: int) -> bool:
        before = index == 0 or start >= self._kept(index - 1)[1]
        after = index + 1 == len(self._starts) or stop <= self._kept(index + 1)[0]
        return before and after

    def _weight(self, index: int, position: Tensor) -> Tensor:
        """Share of a piece at absolute rows: 1 in its middle, linear ramps at its seams; all pieces sum to 1."""
        weight = torch.ones(len(position), device=position.device)
        if self._fade_rows == 0:
            return weight
        if index > 0:
            weight = weight * _ramp(position, self._seam(index - 1))
        if index + 1 < len(self._starts):
            weight = weight * (1 - _ramp(position, self._seam(index)))
        return weight

    def _piece(self, index: int) -> Tensor:
        """All rows of one piece (rows, layers+1, width), from the few that are held or computed now."""
        if index in self._pieces:
            self._pieces.move_to_end(index)
            return self._pieces[index]
        first = 2 * self._starts[index]
        last = min(first + PIECE_FRAMES, self._mel.num_frames)
        mel = torch.zeros(1, NUM_MELS, PIECE_FRAMES)
        mel[0, :, : last - first] = self._mel.frames(first, last)
        with torch.no_grad():
            piece = self._encoder(mel.to(self._encoder.device))[0]
        self._pieces[index] = piece
        if len(self._pieces) > _PIECES_HELD:
            self._pieces.popitem(last=False)
        return piece


def _piece_starts(num_rows: int) -> list[int]:
    """First row of each piece; the last piece ends with the sound, so that only a lone piece is padded."""
    if num_rows <= PIECE_ROWS:
        return [0]
    final = num_rows - PIECE_ROWS
    return [*range(0, final, PIECE_ROWS - _OVERLAP_ROWS), final]


def _ramp(position: Tensor, seam: int) -> Tensor:
    return ((position - seam + 0.5) / _FADE_ROWS + 0.5).clamp(0, 1)
