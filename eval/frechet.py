"""Frechet distance of two feature sets (Dowson and Landau 1982), on which FID and FVD are based."""

import numpy as np

from latentsync.errors import NotMeasured

SAMPLES_PER_FEATURE = 2
"""Number of samples per feature dimension below which the covariance is considered unreliable."""


class FeatureStatistics:
    """Mean and covariance of (n, d) features, accumulated in float64 with bounded memory.

    Args:
        num_features: d.
    """

    def __init__(self, num_features: int) -> None:
        self.num_samples = 0
        self._mean = np.zeros(num_features)
        self._scatter = np.zeros((num_features, num_features))

    def add(self, features: np.ndarray) -> None:
        """Add (n, d) features (Chan, Golub and LeVeque's update, which is stable if the mean is far from 0)."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(f"features have shape {features.shape}, expected (n, {len(self._mean)})")
        if len(features) == 0:
            return
        mean = features.mean(axis=0)
        centred = features - mean
        self._merge(len(features), mean, centred.T @ centred)

    def add_all(self, other: "FeatureStatistics") -> None:
        """Add the samples of another instance."""
        self._merge(other.num_samples, other._mean, other._scatter)

    def _merge(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if count == 0:
            return
        total = self.num_samples + count
        difference = mean - self._mean
        self._scatter += scatter + np.outer(difference, difference) * (self.num_samples * count / total)
        self._mean = self._mean + difference * (count / total)
        self.num_samples = total

    @property
    def mean(self) -> np.ndarray:
        """(d,) float64."""
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) float64 with divisor n - 1; requires two samples."""
        if self.num_samples < 2:
            raise ValueError("a covariance requires two samples")
        return self._scatter / (self.num_samples - 1)

    @property
    def num_features(self) -> int:
        """d."""
        return len(self._mean)


def frechet_distance(
    first_mean: np.ndarray, first_covariance: np.ndarray, second_mean: np.ndarray, second_covariance: np.ndarray
) -> float:
    """Return |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)), the squared distance that FID and FVD report; 0 or more.

    The trace of the root is the sum of the roots of the eigenvalues of R C2 R with R = C1^(1/2), a symmetric matrix.
    Unlike a general matrix root it cannot become complex, and it is valid for covariances without full rank.

    Args:
        first_mean, second_mean: (d,) float64.
        first_covariance, second_covariance: (d, d) float64, symmetric.
    """
    values, vectors = np.linalg.eigh(first_covariance)
    root = (vectors * np.sqrt(_without_noise(values))) @ vectors.T
    middle = root @ second_covariance @ root
    shared = np.sqrt(_without_noise(np.linalg.eigvalsh((middle + middle.T) / 2))).sum()
    mean_distance = float(np.square(first_mean - second_mean).sum())
    return max(mean_distance + float(np.trace(first_covariance) + np.trace(second_covariance) - 2 * shared), 0.0)


def _without_noise(eigenvalues: np.ndarray) -> np.ndarray:
    """Set eigenvalues at the level of rounding errors to 0; the sum of their roots would be noticeable."""
    noise = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max(initial=0)
    return np.where(eigenvalues > noise, eigenvalues, 0)


def distance_of(generated: FeatureStatistics, real: FeatureStatistics) -> float:
    """Return the Frechet distance of two feature sets; raise NotMeasured if one has fewer than two samples."""
    for name, statistics in (("generated", generated), ("real", real)):
        if statistics.num_samples < 2:
            raise NotMeasured(f"there are {statistics.num_samples} {name} samples: a distribution needs two at least")
    return frechet_distance(generated.mean, generated.covariance, real.mean, real.covariance)


def too_few_warning(generated: FeatureStatistics, real: FeatureStatistics) -> str | None:
    """Return a warning to print beside a distance computed from too few samples, or None."""
    fewest, required = min(generated.num_samples, real.num_samples), SAMPLES_PER_FEATURE * real.num_features
    if fewest >= required:
        return None
    return (
        f"from {generated.num_samples} generated and {real.num_samples} real samples of {real.num_features} features: "
        f"under {required} the distance is too large by an unknown amount; compare it only within this report"
    )
