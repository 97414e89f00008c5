"""Audio followed by silence."""

import numpy as np
from numpy.typing import NDArray

from latentsync.audio.sample_source import SampleSource


class PaddedSamples:
    """Audio that is at least as long as asked for: zeros follow its end.

    Args:
        samples: the audio.
        num_samples: smallest length.
    """

    def __init__(self, samples: SampleSource, num_samples: int) -> None:
        self._samples = samples
        self._num_samples = max(num_samples, samples.num_samples)

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return self._num_samples

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return samples [start, stop) as (stop - start,); zeros outside the audio."""
        return self._samples.read(start, stop)
