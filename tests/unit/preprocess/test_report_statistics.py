import numpy as np
import pytest

from preprocess.report.statistics import Histogram


def test_counts_as_numpy_does() -> None:
    values = np.random.default_rng(0).normal(5, 2, 1000)
    histogram = Histogram(0.5)
    for value in values:
        histogram.add(float(value))
    expected, _ = np.histogram(values, bins=np.arange(-0.25, 10.5, 0.5))
    assert [histogram.bins[index] for index in range(len(expected))] == expected.tolist()
    assert histogram.mean == pytest.approx(values.mean())
    assert histogram.quantile(0.5) == pytest.approx(np.median(values), abs=0.5)
    assert histogram.quantile(0.05) == pytest.approx(np.quantile(values, 0.05), abs=0.5)


def test_stays_small_whatever_comes() -> None:
    histogram = Histogram(1)
    for value in (1e300, -1e300, float("nan"), float("inf"), *range(100_000)):
        histogram.add(value)
    assert histogram.num_values == 100_002
    assert len(histogram.bins) < 5000


def test_nothing_is_no_number() -> None:
    assert Histogram(1).mean is None
    assert Histogram(1).quantile(0.5) is None
