"""Whisper features of audio of any length, one row per 20 ms, and the audio tokens of a video frame.

`WhisperMel` computes slices of the log-mel spectrogram. It equals `whisper.audio.log_mel_spectrogram` of the whole
file: the normalisation needs the maximum of the file, which a first pass finds block by block, and every slice is
computed with the samples around it.

`WhisperFeatures` encodes chunks of 30 s on demand. Audio of up to 30 s is one zero-padded chunk. Longer audio is cut
into full chunks that overlap by at least 10 s, and only the middle of each is used, so that every row has at least
about 5 s of context on both sides. Whisper adds absolute positions to its features, so two chunks differ where they
meet (5 times as much as neighbouring rows do); they are cross-faded over half a second, which makes the seam as smooth
as the rest. The published system cuts chunks that do not overlap and pads the last one with zeros; `as_published` does
the same.
"""

from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

from latentsync.audio.sample_source import SampleSource
from latentsync.audio.whisper_model import CHUNK_FRAMES, CHUNK_ROWS, NUM_MELS, WhisperEncoder
from latentsync.errors import InputError

ROWS_PER_SECOND = 50
"""Feature rows of 20 ms."""

ROWS_BEFORE = 4
ROWS_AFTER = 5
"""Frame i at F frames per second uses rows int(50 i / F) - 4 to int(50 i / F) + 5."""
ROWS_PER_FRAME = ROWS_BEFORE + 1 + ROWS_AFTER

_OVERLAP_ROWS = 500
_FADE_ROWS = 26
_CHUNKS_HELD = 3

_DYNAMIC_RANGE = 8.0
"""Decades kept below the maximum of the file."""
_FLOOR = 1e-10
_BLOCK_FRAMES = 6000
"""Mel frames per block of the first pass: one minute, about 15 MB of spectrum."""


class FeatureRows(Protocol):
    """Feature rows by number, such as `WhisperFeatures`."""

    num_rows: int

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) as (stop - start, layers+1, width)."""
        ...


def frame_rows(frame_index: int, fps: Fraction | float, num_rows: int) -> list[int]:
    """Return the ten row numbers of a video frame, clamped at both ends of the audio."""
    centre = int(ROWS_PER_SECOND * frame_index / Fraction(fps))
    return [min(max(row, 0), num_rows - 1) for row in range(centre - ROWS_BEFORE, centre + ROWS_AFTER + 1)]


def frame_tokens(features: FeatureRows, frame_indices: Sequence[int], fps: Fraction | float) -> Tensor:
    """Return the audio tokens of video frames as (f, 10 * (layers+1), width).

    Row by row; the layers of a row are adjacent.
    """
    frames = []
    for frame_index in frame_indices:
        numbers = frame_rows(frame_index, fps, features.num_rows)
        rows = features.rows(numbers[0], numbers[-1] + 1)
        frames.append(rows[torch.tensor(numbers, device=rows.device) - numbers[0]].flatten(0, 1))
    return torch.stack(frames)


class WhisperMel:
    """Normalised log-mel spectrogram: frame t is centred on sample 160 t, the file is mirrored at both ends.

    Attributes:
        num_frames: number of mel frames.

    Raises:
        InputError: the audio is shorter than 20 ms (two frames).
    """

    def __init__(self, samples: SampleSource) -> None:
        if samples.num_samples < 2 * HOP_LENGTH:
            raise InputError(f"the speech lasts {samples.num_samples} samples, less than 20 ms: give longer audio")
        self._samples = samples
        self._window = torch.hann_window(N_FFT)
        self._filters = mel_filters("cpu", NUM_MELS)
        self.num_frames = samples.num_samples // HOP_LENGTH
        self._maximum = max(
            float(self._log_power(start, min(start + _BLOCK_FRAMES, self.num_frames)).max())
            for start in range(0, self.num_frames, _BLOCK_FRAMES)
        )

    def frames(self, start: int, stop: int) -> Tensor:
        """Return frames [start, stop) as (80, stop - start) float32 on the CPU, about [-1, 1.5]."""
        if not 0 <= start < stop <= self.num_frames:
            raise ValueError(f"mel frames {start}..{stop} are outside 0..{self.num_frames}")
        log_power = self._log_power(start, stop)
        return (log_power.clamp(min=self._maximum - _DYNAMIC_RANGE) + 4.0) / 4.0

    def _log_power(self, start: int, stop: int) -> Tensor:
        half = N_FFT // 2
        samples = self._read_mirrored(start * HOP_LENGTH - half, (stop - 1) * HOP_LENGTH + half)
        spectrum = torch.stft(
            torch.from_numpy(samples), N_FFT, HOP_LENGTH, window=self._window, center=False, return_complex=True
        )
        return (self._filters @ (spectrum.abs() ** 2)).clamp(min=_FLOOR).log10()

    def _read_mirrored(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples [start, stop) of the file reflected about its first and last sample (not repeating them)."""
        total = self._samples.num_samples
        parts = []
        if start < 0:
            parts.append(self._samples.read(1, 1 - start)[::-1])
        parts.append(self._samples.read(max(start, 0), min(stop, total)))
        if stop > total:
            parts.append(self._samples.read(2 * total - 1 - stop, total - 1)[::-1])
        return np.concatenate(parts)


class WhisperFeatures:
    """Feature rows (row, layers+1, width) of audio, in the encoder's precision and on its device.

    A few chunks are cached (12 MB each for `tiny`, 60 MB for `small`), so that sequential reading in either direction
    computes each chunk once.

    Args:
        encoder: the Whisper encoder.
        samples: the audio.
        as_published: cut the audio into chunks that do not overlap, the last one padded with zeros.

    Attributes:
        num_rows: half the number of mel frames; an odd last frame (10 ms) has no row.

    Raises:
        InputError: the audio is shorter than 20 ms.
    """

    def __init__(self, encoder: WhisperEncoder, samples: SampleSource, as_published: bool = False) -> None:
        self._encoder = encoder
        self._mel = WhisperMel(samples)
        self.num_rows = self._mel.num_frames // 2
        self._starts = list(range(0, self.num_rows, CHUNK_ROWS)) if as_published else _chunk_starts(self.num_rows)
        self._fade_rows = 0 if as_published else _FADE_ROWS
        self._chunks: OrderedDict[int, Tensor] = OrderedDict()

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) as (stop - start, layers+1, width). Raises ValueError outside 0..num_rows."""
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
            part = self._chunk(index)[low - offset : high - offset]
            if low == start and high == stop and self._is_alone(index, start, stop):
                return part.clone()
            if result is None:
                result = torch.zeros(stop - start, *part.shape[1:], device=part.device, dtype=torch.float32)
            weight = self._weight(index, position[low - start : high - start])
            result[low - start : high - start] += weight[:, None, None] * part
        assert result is not None
        return result.to(self._encoder.dtype)

    def _seam(self, index: int) -> int:
        """Return the row in the middle of the overlap of chunks index and index + 1."""
        return (self._starts[index] + CHUNK_ROWS + self._starts[index + 1]) // 2

    def _kept(self, index: int) -> tuple[int, int]:
        """Return the first row to which a chunk contributes, cross-fades included, and the row after the last."""
        low = self._seam(index - 1) - self._fade_rows // 2 if index > 0 else 0
        high = self._seam(index) + self._fade_rows // 2 if index + 1 < len(self._starts) else self.num_rows
        return low, high

    def _is_alone(self, index: int, start: int, stop: int) -> bool:
        before = index == 0 or start >= self._kept(index - 1)[1]
        after = index + 1 == len(self._starts) or stop <= self._kept(index + 1)[0]
        return before and after

    def _weight(self, index: int, position: Tensor) -> Tensor:
        """Return the weights of a chunk at absolute rows: 1 in its middle, linear ramps at its seams.

        The weights of all chunks sum to 1.
        """
        weight = torch.ones(len(position), device=position.device)
        if self._fade_rows == 0:
            return weight
        if index > 0:
            weight = weight * _ramp(position, self._seam(index - 1))
        if index + 1 < len(self._starts):
            weight = weight * (1 - _ramp(position, self._seam(index)))
        return weight

    def _chunk(self, index: int) -> Tensor:
        """Return all rows of one chunk (rows, layers+1, width), from the cache or the encoder."""
        if index in self._chunks:
            self._chunks.move_to_end(index)
            return self._chunks[index]
        first = 2 * self._starts[index]
        last = min(first + CHUNK_FRAMES, self._mel.num_frames)
        mel = torch.zeros(1, NUM_MELS, CHUNK_FRAMES)
        mel[0, :, : last - first] = self._mel.frames(first, last)
        with torch.no_grad():
            chunk = self._encoder(mel.to(self._encoder.device))[0]
        self._chunks[index] = chunk
        if len(self._chunks) > _CHUNKS_HELD:
            self._chunks.popitem(last=False)
        return chunk


def _chunk_starts(num_rows: int) -> list[int]:
    """Return the first row of each chunk; the last chunk ends with the audio, so that only a single chunk is padded."""
    if num_rows <= CHUNK_ROWS:
        return [0]
    final = num_rows - CHUNK_ROWS
    return [*range(0, final, CHUNK_ROWS - _OVERLAP_ROWS), final]


def _ramp(position: Tensor, seam: int) -> Tensor:
    return ((position - seam + 0.5) / _FADE_ROWS + 0.5).clamp(0, 1)
