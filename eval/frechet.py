"""The Frechet distance of two normal distributions (Dowson and Landau 1982), behind FID and FVD."""

import numpy as np

from eval.feature_statistics import FeatureStatistics
from eval.not_measured import NotMeasured

ENOUGH_PER_FEATURE = 2
"""Samples per feature from which the covariance is taken to be well known."""


def frechet_distance(
    first_mean: np.ndarray, first_covariance: np.ndarray, second_mean: np.ndarray, second_covariance: np.ndarray
) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)), the squared distance that FID and FVD report; 0 or more.

    The trace of the root is the sum of the roots of the eigenvalues of R C2 R with R = C1^(1/2), a symmetric matrix:
    unlike a general matrix root this cannot turn complex, and it holds where the covariances have no full rank.

    Args:
        first_mean, second_mean: (d,) float64.
        first_covariance, second_covariance: (d, d) float64, symmetric.
    """
    values, vectors = np.linalg.eigh(first_covariance)
    root = (vectors * np.sqrt(_without_noise(values))) @ vectors.T
    middle = root @ second_covariance @ root
    shared = np.sqrt(_without_noise(np.linalg.eigvalsh((middle + middle.T) / 2))).sum()
    apart = float(np.square(first_mean - second_mean).sum())
    return max(apart + float(np.trace(first_covariance) + np.trace(second_covariance) - 2 * shared), 0.0)


def _without_noise(eigenvalues: np.ndarray) -> np.ndarray:
    """Eigenvalues of a matrix without negative ones, rounding errors set to 0: their roots would add up."""
    noise = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max(initial=0)
    return np.where(eigenvalues > noise, eigenvalues, 0)


def distance_of(generated: FeatureStatistics, real: FeatureStatistics) -> float:
    """The distance of two sets of features; NotMeasured where one has fewer than two."""
    for name, statistics in (("generated", generated), ("real", real)):
        if statistics.num_samples < 2:
            raise NotMeasured(f"there are {statistics.num_samples} {name} samples: a distribution needs two at least")
    return frechet_distance(generated.mean, generated.covariance, real.mean, real.covariance)


def too_few_warning(generated: FeatureStatistics, real: FeatureStatistics) -> str | None:
    """A line to stand beside a distance from too few samples; None where there are enough."""
    fewest, wanted = min(generated.num_samples, real.num_samples), ENOUGH_PER_FEATURE * real.num_features
    if fewest >= wanted:
        return None
    return (
        f"from {generated.num_samples} generated and {real.num_samples} real samples of {real.num_features} features: "
        f"under {wanted} the distance is too large by an unknown amount; compare it only within this report"
    )
