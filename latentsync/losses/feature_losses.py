"""Losses that compare predicted with target frames in the features of a frozen network: LPIPS and TREPA."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch.nn import functional as F

from latentsync.face.mask import lower_half
from latentsync.judges.videomae import VideoFeatures
from latentsync.losses.loss_stack import Prediction


class PerceptualDistance(Protocol):
    """Interface of `VggLpips` and `VaeEncoderDistance` in `latentsync.judges.perceptual_distance`."""

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the distances (n,) between images and targets (n, 3, h, w) in [-1, 1]."""
        ...


class FeatureLoss(ABC):
    """Base of loss terms that need both predicted and target frames."""

    name: str
    needs_pixels = True
    needs_target_pixels = True
    needs_mel = False

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, prediction: Prediction) -> torch.Tensor:
        """Return the loss, scalar float32. Raises ValueError if the prediction has no target frames."""
        if prediction.target_pixels is None:
            raise ValueError(f"the {self.name} loss needs the target frames")
        return self._compare(prediction, prediction.target_pixels)

    @abstractmethod
    def _compare(self, prediction: Prediction, targets: torch.Tensor) -> torch.Tensor:
        """Compare the prediction's pixels with target frames (b, f, 3, R, R)."""


class PerceptualLoss(FeatureLoss):
    """Mean perceptual distance between the lower halves of predicted and target frames."""

    name = "perceptual"

    def __init__(self, weight: float, distance: PerceptualDistance):
        super().__init__(weight)
        self.distance = distance

    def _compare(self, prediction: Prediction, targets: torch.Tensor) -> torch.Tensor:
        predicted, target = (lower_half(frames).flatten(0, 1) for frames in (prediction.pixels, targets))
        return self.distance(predicted, target).float().mean()


class TrepaLoss(FeatureLoss):
    """Temporal representation alignment (TREPA, arXiv 2412.09262).

    Mean squared error between the unit-length video features of predicted and target frames.
    """

    name = "trepa"

    def __init__(self, weight: float, features: VideoFeatures):
        super().__init__(weight)
        self.features = features

    def _compare(self, prediction: Prediction, targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            target_features = self.features(targets)
        predicted_features = self.features(prediction.pixels)
        return F.mse_loss(F.normalize(predicted_features.float(), dim=1), F.normalize(target_features.float(), dim=1))
