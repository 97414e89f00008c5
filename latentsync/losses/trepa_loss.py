"""Temporal representation alignment (TREPA, arXiv 2412.09262): predicted frames shall move as the real ones do."""

import torch
from torch.nn import functional as F

from latentsync.judges.videomae import VideoFeatures
from latentsync.losses.prediction import Prediction


class TrepaLoss:
    """Squared error of unit video features of predicted and real frames, averaged over all elements."""

    name = "trepa"
    needs_pixels = True
    needs_target_pixels = True
    needs_mel = False

    def __init__(self, weight: float, features: VideoFeatures):
        self.weight = weight
        self.features = features

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Scalar float32."""
        if prediction.target_pixels is None:
            raise ValueError("the TREPA loss wants the real frames")
        with torch.no_grad():
            real = self.features(prediction.target_pixels)
        return feature_distance(self.features(prediction.pixels), real)


def feature_distance(features: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Features (b, d) of any length to the mean squared difference of their unit vectors, scalar float32."""
    return F.mse_loss(F.normalize(features.float(), dim=1), F.normalize(others.float(), dim=1))
