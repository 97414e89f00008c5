"""What a metric is: the contract between the files of this folder and `eval.run`.

A metric judges one generated video at a time (`Metric`), or the whole set by features it gathers video by video
(`SetMetric`). It states its figures, what the published protocol is and where ours differs, and which weights it needs.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.feature_statistics import FeatureStatistics
from eval.not_measured import NotMeasured as NotMeasured


@dataclass(frozen=True)
class Sample:
    """One generated video and what it is compared with.

    Attributes:
        name: short and unique.
        result: the generated video.
        source: the video that was given to the model.
        reference: what the result should look like, frame by frame: the source itself for reconstruction, a render of
            the same person with the other speech for synthetic cross-audio; None where nobody knows.
        audio: the driving speech, a sound file or a video with sound.
        report: the JSON record of its making (`latentsync.pipelines.video_maker`), where there is one.
    """

    name: str
    result: Path
    source: Path
    reference: Path | None
    audio: Path
    report: Path | None = None

    def required_reference(self) -> Path:
        """The reference; NotMeasured where there is none."""
        if self.reference is None:
            raise NotMeasured("there is no reference")
        return self.reference


@dataclass(frozen=True)
class Figure:
    """One number a metric gives.

    Attributes:
        name: unique over all metrics, such as `lse_c`.
        unit: such as `dB`, `grey levels`, or "" for a pure number.
        higher_is_better: None where neither is (an offset: best is `ideal`).
        description: one line.
        ideal: the value of a perfect result, where there is one.
        needs: what of a sample it is computed from besides result and audio: `source`, `reference`, `report`.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    description: str
    ideal: float | None = None
    needs: tuple[str, ...] = ()


class Judge(Protocol):
    """A loaded per-video metric."""

    def __call__(self, sample: Sample, clips: FaceClips) -> dict[str, float]:
        """Figures by name, all finite; one that this sample does not give is left out.

        Raises:
            NotMeasured: none of them can be given, and why.
            LatentSyncError: a file cannot be read.
        """
        ...


class AnyMetric:
    """What both kinds of metric state. Modules hold instances as METRIC or METRICS; making one loads nothing.

    Attributes:
        name: what `--metrics` calls it.
        figures: what it gives.
        description: one line.
        protocol: what the comparable published protocol is, and where ours differs.
        version: counted up when a figure's meaning changes, so that kept figures are measured anew.
    """

    name: str
    figures: tuple[Figure, ...]
    description: str
    protocol: str
    version: int = 1

    def weights(self) -> list[Path]:
        """The files its judge is read from, there or not (see `missing_weights`); empty where it needs none."""
        return []


class Metric(AnyMetric, ABC):
    """A metric of one video."""

    @abstractmethod
    def load(self, device: torch.device) -> Judge:
        """The judge; raises CheckpointError where a file is missing or damaged."""


@dataclass(frozen=True)
class SetFigures:
    """Figures over a whole set.

    Attributes:
        values: by name.
        num_generated, num_real: samples (pictures or windows) behind them.
        warning: one line that must stand beside the figures, where they are not to be trusted; else None.
    """

    values: dict[str, float]
    num_generated: int
    num_real: int
    warning: str | None


class SetJudge(Protocol):
    """A loaded set metric: features of single videos, and figures of sums of them."""

    @property
    def num_features(self) -> int:
        """d, the length of a feature."""
        ...

    def features(self, sample: Sample, clips: FaceClips) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) and (m, d) float32 features of the generated and of the real video (the reference, else the source).

        Raises NotMeasured as a `Judge` does. They are small and may be kept.
        """
        ...

    def figures(self, generated: FeatureStatistics, real: FeatureStatistics) -> SetFigures:
        """The figures; NotMeasured where there are too few samples for any figure at all."""
        ...


class SetMetric(AnyMetric, ABC):
    """A metric of a set of videos.

    Use: `judge = metric.load(device)`; for every sample `g, r = judge.features(sample, clips)`, and `generated.add(g)`,
    `real.add(r)` with two `FeatureStatistics(judge.num_features)`; then `judge.figures(generated, real)`.
    """

    @abstractmethod
    def load(self, device: torch.device) -> SetJudge:
        """As `Metric.load`."""


def missing_weights(metric: AnyMetric) -> list[Path]:
    """The files of a metric that are not here; where there are any it is reported as not measured."""
    return [path for path in metric.weights() if not path.is_file()]


def not_measured_line(metric: AnyMetric) -> str | None:
    """`not measured: file ... missing`, or None where every file is here."""
    missing = missing_weights(metric)
    if not missing:
        return None
    return f"not measured: file{'s' * (len(missing) > 1)} {', '.join(str(path) for path in missing)} missing"
