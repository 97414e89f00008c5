import numpy as np
import pytest
from scipy import stats

from eval import bootstrap
from eval.bootstrap import bootstrap_mean


@pytest.mark.parametrize("num", [30, 400])
def test_the_interval_is_the_analytic_one_for_normal_values(num: int):
    values = np.random.default_rng(5).normal(3.0, 2.0, num)
    found = bootstrap_mean(values.tolist(), seed=1, num_resamples=20_000)
    # of a bootstrap the standard error has divisor n, and no Student's t
    error = values.std(ddof=0) / np.sqrt(num)
    assert found is not None
    assert found.mean == pytest.approx(values.mean())
    assert found.num == num
    assert found.low == pytest.approx(values.mean() - stats.norm.ppf(0.975) * error, abs=0.06 * error)
    assert found.high == pytest.approx(values.mean() + stats.norm.ppf(0.975) * error, abs=0.06 * error)


def test_it_is_scipys_percentile_interval():
    values = np.random.default_rng(6).exponential(1.0, 25)
    found = bootstrap_mean(values.tolist(), num_resamples=20_000)
    other = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", random_state=0)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(other.confidence_interval), abs=0.015)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(7)
    inside = 0
    for seed in range(200):
        found = bootstrap_mean(rng.normal(0.0, 1.0, 60).tolist(), seed, num_resamples=400)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.0 <= found.high
    assert 180 <= inside <= 198  # 190 are expected


def test_equal_seeds_give_equal_intervals_whatever_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(8).normal(size=20).tolist()
    first = bootstrap_mean(values, seed=3)
    monkeypatch.setattr(bootstrap, "_BLOCK", 40)
    assert bootstrap_mean(values, seed=3) == first
    assert bootstrap_mean(values, seed=4) != first


def test_no_interval_of_one_value_and_nothing_of_none():
    one = bootstrap_mean([2.5])
    assert one is not None
    assert (one.mean, one.low, one.high, one.num) == (2.5, None, None, 1)
    assert bootstrap_mean([]) is None
