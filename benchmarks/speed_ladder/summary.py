"""Means, paired differences to the reference, verdicts and the Pareto front, from the values of single dubs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.speed_ladder.measures import QUANTITIES
from eval.bootstrap import Interval, bootstrap_mean
from eval.metrics.metric import Quantity
from eval.results import badness
from eval.stored_results import Values

DubValues = Mapping[tuple[int, int], Values]
"""Values of a row by (dub, seed)."""

BETTER, SAME, WORSE = "better", "no difference", "worse"


@dataclass(frozen=True)
class Comparison:
    """One quantity of a row against the reference.

    Attributes:
        value: mean over dubs and seeds; dubs are resampled, each with all its seeds.
        worsening: mean over the same dubs and seeds of the row's badness minus the reference's (`eval.results.badness`:
            of the value, or of its distance from the ideal); positive is worse.
        overlaps: False if the interval of the row's badness lies wholly on the worse side of the reference's.
    """

    value: Interval
    worsening: Interval
    overlaps: bool

    @property
    def verdict(self) -> str:
        """`WORSE` or `BETTER` if the whole interval of the paired difference lies on that side of zero, else `SAME`."""
        low, high = self.worsening.low, self.worsening.high
        if low is None or high is None:
            return SAME
        return WORSE if low > 0 else BETTER if high < 0 else SAME


@dataclass(frozen=True)
class RowSummary:
    """All quantities of a row by name, over the dubs and seeds that it shares with the reference."""

    comparisons: dict[str, Comparison]
    num_dubs: int
    num_results: int

    @property
    def worse(self) -> list[str]:
        """Quantities of which the paired difference shows a loss."""
        return [name for name, one in self.comparisons.items() if one.verdict == WORSE]

    @property
    def apart(self) -> list[str]:
        """Quantities whose interval does not overlap the reference's, on the worse side."""
        return [name for name, one in self.comparisons.items() if not one.overlaps]


def summarize(values: DubValues, reference: DubValues) -> RowSummary | None:
    """Compare a row with the reference over their common dubs and seeds; None if there are none."""
    common = sorted(values.keys() & reference.keys())
    if not common:
        return None
    comparisons = {}
    for quantity in QUANTITIES:
        ours, theirs = ([one[pair][quantity.name] for pair in common] for one in (values, reference))
        comparisons[quantity.name] = compare(quantity, ours, theirs, [dub for dub, _ in common])
    return RowSummary(comparisons, len({dub for dub, _ in common}), len(common))


def compare(quantity: Quantity, values: Sequence[float], reference: Sequence[float], dubs: Sequence[int]) -> Comparison:
    """Compare paired values of one quantity.

    Args:
        quantity: states which values are better.
        values, reference: (n,) of the same dubs and seeds.
        dubs: (n,) dub of each value.
    """
    bad, bad_reference = ([badness(quantity, value) for value in one] for one in (values, reference))
    ours, theirs = (_over_dubs(one, dubs) for one in (bad, bad_reference))
    worsening = _over_dubs([one - other for one, other in zip(bad, bad_reference, strict=True)], dubs)
    is_apart = ours.low is not None and theirs.high is not None and ours.low > theirs.high
    return Comparison(_over_dubs(values, dubs), worsening, not is_apart)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of points (time, badness) that no other point beats in both, the fastest first."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: points[index]):
        if not front or points[index][1] < points[front[-1]][1]:
            front.append(index)
    return front


def _over_dubs(values: Sequence[float], dubs: Sequence[int]) -> Interval:
    """Return the mean and its interval, with all values of a dub resampled together."""
    grouped: dict[int, list[float]] = defaultdict(list)
    for dub, value in zip(dubs, values, strict=True):
        grouped[dub].append(value)
    interval = bootstrap_mean([float(np.mean(one)) for one in grouped.values()])
    assert interval is not None
    return interval
