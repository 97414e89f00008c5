"""What FID and FVD share: features of generated and of real face crops, and the Frechet distance of the two sets."""

from abc import ABC, abstractmethod

import numpy as np

from eval.face_clips import FaceClip, FaceClips
from eval.feature_statistics import FeatureStatistics
from eval.frechet import distance_of, too_few_warning
from eval.metrics.metric import Sample, SetFigures


class FrechetJudge(ABC):
    """A `SetJudge`; the real set is the references, and the sources where there are none."""

    figure: str
    """The name of its only figure."""
    num_features: int

    @abstractmethod
    def features_of(self, clip: FaceClip) -> np.ndarray:
        """Features (n, num_features) float32 of one video's face crops; n may be 0."""

    def features(self, sample: Sample, clips: FaceClips) -> tuple[np.ndarray, np.ndarray]:
        """See `SetJudge`."""
        real = sample.source if sample.reference is None else sample.reference
        return (
            self.features_of(clips.crops(sample.result, sample.source)),
            self.features_of(clips.crops(real, sample.source)),
        )

    def figures(self, generated: FeatureStatistics, real: FeatureStatistics) -> SetFigures:
        """See `SetJudge`."""
        distance, warning = distance_of(generated, real), too_few_warning(generated, real)
        return SetFigures({self.figure: distance}, generated.num_samples, real.num_samples, warning)
