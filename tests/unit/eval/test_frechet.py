"""The Frechet distance against scipy's matrix root and closed forms, and the statistics behind it."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from eval.frechet import FeatureStatistics, distance_of, frechet_distance, too_few_warning
from latentsync.errors import NotMeasured


def features(num_samples: int, num_features: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(num_features, num_features))
    return rng.normal(size=(num_samples, num_features)) @ mixing + shift


def statistics(*parts: np.ndarray) -> FeatureStatistics:
    gathered = FeatureStatistics(parts[0].shape[1])
    for part in parts:
        gathered.add(part)
    return gathered


def published_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The formula as papers' code has it, with scipy's general matrix root."""
    covariances = [np.cov(one, rowvar=False) for one in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1])
    apart = first.mean(axis=0) - second.mean(axis=0)
    return float(apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * np.real(root)))


@pytest.mark.parametrize("num_samples", [400, 50])
def test_it_agrees_with_the_matrix_root(num_samples):
    first, second = features(num_samples, 24, 0), features(num_samples + 30, 24, 1, shift=0.7)
    ours = distance_of(statistics(first), statistics(second))
    assert ours == pytest.approx(published_distance(first, second), rel=1e-8)


def test_diagonal_covariances_have_a_closed_form():
    first, second = np.array([4.0, 9.0, 0.0]), np.array([1.0, 16.0, 0.0])
    mean = np.array([1.0, -2.0, 0.5])
    expected = np.square(mean).sum() + np.square(np.sqrt(first) - np.sqrt(second)).sum()
    assert frechet_distance(mean, np.diag(first), np.zeros(3), np.diag(second)) == pytest.approx(expected)


def test_fewer_samples_than_features_give_a_real_number_and_equal_sets_zero():
    few, other = features(10, 40, 2), features(12, 40, 3)
    one, two = statistics(few), statistics(other)
    assert distance_of(one, one) == pytest.approx(0, abs=1e-4 * np.trace(one.covariance))
    assert np.isfinite(distance_of(one, two))
    assert distance_of(one, two) == pytest.approx(distance_of(two, one), rel=1e-8)


def test_statistics_do_not_depend_on_the_parts():
    whole = features(100, 7, 4, shift=1e4)
    gathered = statistics(whole[:1], whole[1:40], whole[40:40], whole[40:])
    other = statistics(whole[60:])
    other.add_all(statistics(whole[:60]))
    for one in (gathered, other):
        assert one.num_samples == 100
        np.testing.assert_allclose(one.mean, whole.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(one.covariance, np.cov(whole, rowvar=False), rtol=1e-9)
    with pytest.raises(ValueError, match="expected"):
        gathered.add(np.zeros((3, 8)))


def test_too_few_samples_are_said():
    few, many = statistics(features(9, 5, 5)), statistics(features(10, 5, 6))
    assert too_few_warning(many, many) is None
    warning = too_few_warning(few, many)
    assert warning is not None
    assert "9 generated and 10 real" in warning
    with pytest.raises(NotMeasured, match="1 real"):
        distance_of(many, statistics(features(1, 5, 7)))
