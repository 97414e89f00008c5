"""Distributions in bounded memory: a count for each bin, however many values come."""

import math
from collections import Counter

_MAX_BINS = 2000
"""Values further out than so many bins are counted in the last one, so that one wild value costs nothing."""


class Histogram:
    """Counts values in bins of one width; bin i holds [(i - 1/2) width, (i + 1/2) width), so whole numbers lie central.

    Args:
        width: of a bin, in the unit of the values.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self.bins: Counter[int] = Counter()
        self.num_values = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value; one that is not finite is left out."""
        if not math.isfinite(value):
            return
        index = math.floor(value / self.width + 0.5)
        self.bins[max(-_MAX_BINS, min(_MAX_BINS, index))] += 1
        self.num_values += 1
        self._sum += value

    @property
    def mean(self) -> float | None:
        """Of the values themselves, not of their bins; None where there are none."""
        return self._sum / self.num_values if self.num_values else None

    def quantile(self, share: float) -> float | None:
        """The middle of the bin below which (or in which) this share of the values lies; None where there are none."""
        if not self.num_values:
            return None
        seen = 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen >= share * self.num_values:
                return index * self.width
        return None
