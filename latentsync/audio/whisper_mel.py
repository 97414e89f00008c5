"""Whisper's log-mel spectrogram of a sound of any length, computed where it is asked for.

Equals `whisper.audio.log_mel_spectrogram` of the whole file: its normalisation needs the loudest value of the file,
which a first pass finds a block at a time, and every slice is computed with the samples around it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

from latentsync.audio.sample_source import SampleSource
from latentsync.errors import InputError

NUM_MELS = 80

_DYNAMIC_RANGE = 8.0
"""Decades kept below the loudest value of the file."""
_FLOOR = 1e-10
_BLOCK_FRAMES = 6000
"""Frames of one block of the first pass: one minute, about 15 MB of spectrum."""


class WhisperMel:
    """Normalised log-mel of a sound: frame t is centred on sample 160 t, mirrored at both ends of the file.

    Raises InputError where the sound is too short for one frame pair (20 ms).
    """

    def __init__(self, samples: SampleSource) -> None:
        if samples.num_samples < 2 * HOP_LENGTH:
            raise InputError(f"the speech lasts {samples.num_samples} samples, less than 20 ms: give a longer sound")
        self._samples = samples
        self._window = torch.hann_window(N_FFT)
        self._filters = mel_filters("cpu", NUM_MELS)
        self.num_frames = samples.num_samples // HOP_LENGTH
        self._loudest = max(
            float(self._log_power(start, min(start + _BLOCK_FRAMES, self.num_frames)).max())
            for start in range(0, self.num_frames, _BLOCK_FRAMES)
        )

    def frames(self, start: int, stop: int) -> Tensor:
        """Frames [start, stop) as (80, stop - start) float32 on the CPU, about [-1, 1.5]."""
        if not 0 <= start < stop <= self.num_frames:
            raise ValueError(f"mel frames {start}..{stop} are outside 0..{self.num_frames}")
        log_power = self._log_power(start, stop)
        return (log_power.clamp(min=self._loudest - _DYNAMIC_RANGE) + 4.0) / 4.0

    def _log_power(self, start: int, stop: int) -> Tensor:
        half = N_FFT // 2
        samples = self._read_mirrored(start * HOP_LENGTH - half, (stop - 1) * HOP_LENGTH + half)
        spectrum = torch.stft(
            torch.from_numpy(samples), N_FFT, HOP_LENGTH, window=self._window, center=False, return_complex=True
        )
        return (self._filters @ (spectrum.abs() ** 2)).clamp(min=_FLOOR).log10()

    def _read_mirrored(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples [start, stop) where the file is reflected about its first and last sample (not repeating them)."""
        total = self._samples.num_samples
        parts = []
        if start < 0:
            parts.append(self._samples.read(1, 1 - start)[::-1])
        parts.append(self._samples.read(max(start, 0), min(stop, total)))
        if stop > total:
            parts.append(self._samples.read(2 * total - 1 - stop, total - 1)[::-1])
        return np.concatenate(parts)
