"""Mean and covariance of features that come in parts: what a Frechet distance is computed from, in bounded memory."""

import numpy as np


class FeatureStatistics:
    """Gathers (n, d) features in float64; sums of two are exact, so parts can be gathered in any order.

    Args:
        num_features: d.
    """

    def __init__(self, num_features: int) -> None:
        self.num_samples = 0
        self._mean = np.zeros(num_features)
        self._scatter = np.zeros((num_features, num_features))

    def add(self, features: np.ndarray) -> None:
        """Takes in (n, d) features (Chan, Golub and LeVeque's update, stable where the mean is far from 0)."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != len(self._mean):
            raise ValueError(f"features have shape {features.shape}, (n, {len(self._mean)}) is wanted")
        if len(features) == 0:
            return
        mean = features.mean(axis=0)
        centred = features - mean
        self._join(len(features), mean, centred.T @ centred)

    def add_all(self, other: "FeatureStatistics") -> None:
        """Takes in what another one has gathered."""
        self._join(other.num_samples, other._mean, other._scatter)

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if count == 0:
            return
        total = self.num_samples + count
        apart = mean - self._mean
        self._scatter += scatter + np.outer(apart, apart) * (self.num_samples * count / total)
        self._mean = self._mean + apart * (count / total)
        self.num_samples = total

    @property
    def mean(self) -> np.ndarray:
        """(d,) float64."""
        return self._mean

    @property
    def covariance(self) -> np.ndarray:
        """(d, d) float64, divisor n - 1; needs two samples."""
        if self.num_samples < 2:
            raise ValueError("a covariance needs two samples")
        return self._scatter / (self.num_samples - 1)

    @property
    def num_features(self) -> int:
        """d."""
        return len(self._mean)
