"""Interface of audio with random access, and audio in memory."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
"""Samples per second of the audio of all networks, mono."""


class SampleSource(Protocol):
    """Mono 16 kHz audio that need not fit into memory."""

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        ...

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples [start, stop) as (stop - start,) in [-1, 1]; zeros outside [0, num_samples)."""
        ...


class ArraySamples:
    """Audio in memory.

    Args:
        samples: (n,) float in [-1, 1] at 16 kHz.
    """

    def __init__(self, samples: NDArray[np.floating]) -> None:
        if samples.ndim != 1:
            raise ValueError(f"samples must be one-dimensional, got shape {samples.shape}")
        self._samples = samples.astype(np.float32, copy=False)

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return len(self._samples)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples [start, stop) as (stop - start,); zeros outside [0, num_samples)."""
        result = np.zeros(max(stop - start, 0), dtype=np.float32)
        low, high = max(start, 0), min(stop, self.num_samples)
        if low < high:
            result[low - start : high - start] = self._samples[low:high]
        return result
