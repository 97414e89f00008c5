"""Confidence intervals of means over videos: the percentile bootstrap (Efron 1979), seeded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 2000
LEVEL = 0.95

_BLOCK = 1 << 20
"""Random numbers drawn at once; bounds the memory."""


@dataclass(frozen=True)
class Interval:
    """A mean over videos and its confidence interval.

    Attributes:
        mean: of the values.
        low, high: bounds that contain the mean of 95 % of the resamplings; None for fewer than two values.
        num: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    num: int


def bootstrap_mean(
    values: Sequence[float], seed: int = 0, num_resamples: int = NUM_RESAMPLES, level: float = LEVEL
) -> Interval | None:
    """Return the mean of values (n,) and its interval, or None if there are no values."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0:
        return None
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, None, None, 1)
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(sample))
    means = []
    for start in range(0, num_resamples, rows):
        draws = rng.integers(len(sample), size=(min(rows, num_resamples - start), len(sample)))
        means.append(sample[draws].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(sample))
