"""One metric at work: loads its judge when it is first needed, keeps what it measured, and survives what fails."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.feature_statistics import FeatureStatistics
from eval.kept_figures import KeptFigures
from eval.metrics.metric import AnyMetric, Judge, Metric, NotMeasured, Sample, SetJudge, SetMetric, missing_weights
from eval.results import MetricRecord, SetRecord
from latentsync.errors import CheckpointError, LatentSyncError
from latentsync.storage.content_cache import ArrayCache, cache_key
from latentsync.weights import REPOSITORY_ROOT

logger = logging.getLogger(__name__)

_KEPT = 1
"""Counted up when what is kept changes its form."""


class Measurer:
    """Judges samples by one metric, video by video; see `VideoMeasurer` and `SetMeasurer`.

    Attributes:
        record: the metric as it is used here; says why where it cannot be used.
        num_measured, num_kept: samples judged in this run, and found judged already.

    Args:
        metric: the metric.
        clips: crops for the judge; its content keys name what is kept.
        kept: where results are kept.
        is_strict: whether weights that are missing or damaged are an error.

    Raises:
        CheckpointError: `is_strict` and a weights file is missing.
    """

    def __init__(self, metric: AnyMetric, clips: FaceClips, kept: Path, is_strict: bool) -> None:
        self.num_measured = self.num_kept = 0
        self._clips = clips
        self._is_strict = is_strict
        self._needs = {need for figure in metric.figures for need in figure.needs}
        missing = missing_weights(metric)
        files = [] if missing else metric.weights()
        weights = {path.name: clips.content_key(path) for path in files}
        self.record = MetricRecord(
            name=metric.name,
            version=metric.version,
            description=metric.description,
            protocol=metric.protocol,
            figures=list(metric.figures),
            weights=weights,
            is_set=isinstance(metric, SetMetric),
        )
        if missing:
            names = ", ".join(_shown(path) for path in missing)
            self._give_up(f"not measured: file{'s' * (len(missing) > 1)} {names} missing")
        parts = (metric.name, metric.version, clips.device.type, clips.settings_key, *weights.values())
        self._metric_key = cache_key("eval figures", _KEPT, *parts)
        self._kept = KeptFigures(kept)

    @property
    def judges_failures(self) -> bool:
        """Whether it looks at nothing but the record of a video's making, so that a failed video can be judged."""
        return self._needs == {"report"} and all(figure.needs for figure in self.record.figures)

    def measure(self, sample: Sample) -> tuple[dict[str, float], str | None]:
        """Figures of a sample, and why there are none where there are none; a failure is logged, not raised."""
        if self.record.not_measured is not None:
            return {}, self.record.not_measured
        key = self.key(sample)
        kept = self.kept(key)
        if kept is not None:
            self.num_kept += 1
            return kept
        try:
            values = self.judged(sample, key)
        except NotMeasured as error:
            self._kept.write(key, {"values": {}, "reason": str(error)})
            self.num_measured += 1
            return {}, str(error)
        except _LoadError as error:
            self._give_up(f"not measured: {error}")
            return {}, self.record.not_measured
        except LatentSyncError as error:
            return {}, str(error)
        except Exception as error:  # a fault in one metric must not cost the others
            logger.warning("%s failed on %s", self.record.name, sample.name, exc_info=error)
            return {}, f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
        self._kept.write(key, {"values": values, "reason": None})
        self.num_measured += 1
        return values, None

    def key(self, sample: Sample) -> str:
        """Name of what is kept: the contents of the sample's files, the metric with its version and weights."""
        files = [sample.result, sample.source, sample.audio, sample.reference]
        files.append(sample.report if "report" in self._needs else None)
        keys = [self._clips.content_key(path) if path is not None and path.is_file() else "-" for path in files]
        return cache_key(self._metric_key, *keys)

    def kept(self, key: str) -> tuple[dict[str, float], str | None] | None:
        """What is kept of a sample."""
        found = self._kept.read(key)
        return None if found is None else (found["values"], found["reason"])

    def judged(self, sample: Sample, key: str) -> dict[str, float]:
        """Figures of a sample, measured now."""
        raise NotImplementedError

    def _give_up(self, reason: str) -> None:
        if self._is_strict:
            raise CheckpointError(f"{self.record.name}: {reason} (--strict)")
        self.record = replace(self.record, not_measured=reason)


class VideoMeasurer(Measurer):
    """Judges by a `Metric`."""

    def __init__(self, metric: Metric, clips: FaceClips, kept: Path, is_strict: bool) -> None:
        super().__init__(metric, clips, kept, is_strict)
        self._metric = metric
        self._judge: Judge | None = None

    def judged(self, sample: Sample, key: str) -> dict[str, float]:
        """Figures of a sample, measured now."""
        if self._judge is None:
            self._judge = _loaded(self._metric, self._clips.device)
        names = {figure.name for figure in self.record.figures}
        values = {name: float(value) for name, value in self._judge(sample, self._clips).items()}
        wrong = [name for name, value in values.items() if name not in names or not math.isfinite(value)]
        if wrong:
            raise ValueError(f"it gave {wrong[0]} = {values[wrong[0]]}, which is no finite figure of it")
        return values


class SetMeasurer(Measurer):
    """Gathers features by a `SetMetric`; they are kept as arrays, so that no set is ever in memory."""

    def __init__(self, metric: SetMetric, clips: FaceClips, kept: Path, is_strict: bool) -> None:
        super().__init__(metric, clips, kept, is_strict)
        self._metric = metric
        self._arrays = ArrayCache(kept)
        self._judge: SetJudge | None = None

    def kept(self, key: str) -> tuple[dict[str, float], str | None] | None:
        """What is kept of a sample; nothing where its features are gone."""
        found = super().kept(key)
        is_whole = found is not None and (found[1] is not None or all(map(self._arrays.holds, _array_keys(key))))
        return found if is_whole else None

    def judged(self, sample: Sample, key: str) -> dict[str, float]:
        """Keeps the features of a sample; there is no figure of a single video."""
        features = self._loaded_judge().features(sample, self._clips)
        for name, array in zip(_array_keys(key), features, strict=True):
            self._arrays.get(name, lambda array=array: np.asarray(array, dtype=np.float32))
        return {}

    def figures_of(self, protocol: str, row: str, samples: Sequence[Sample]) -> SetRecord:
        """Figures of a whole row, of the features that `measure` has kept."""
        if self.record.not_measured is not None:
            return SetRecord(protocol, row, self.record.name, 0, not_measured=self.record.not_measured)
        generated, real, num_videos = None, None, 0
        for sample in samples:
            arrays = [self._arrays.read(name) for name in _array_keys(self.key(sample))]
            if arrays[0] is None or arrays[1] is None:
                continue
            if generated is None or real is None:
                generated, real = (FeatureStatistics(arrays[0].shape[1]) for _ in range(2))
            generated.add(arrays[0])
            real.add(arrays[1])
            num_videos += 1
        if generated is None or real is None:
            return SetRecord(protocol, row, self.record.name, 0, not_measured="no video gave features")
        try:
            found = self._set_figures(generated, real, protocol, row)
        except LatentSyncError as error:
            counts = (num_videos, generated.num_samples, real.num_samples)
            return SetRecord(protocol, row, self.record.name, *counts, not_measured=str(error))
        return replace(found, num_videos=num_videos)

    def _set_figures(self, generated: FeatureStatistics, real: FeatureStatistics, protocol: str, row: str) -> SetRecord:
        found = self._loaded_judge().figures(generated, real)
        values = {name: float(value) for name, value in found.values.items() if math.isfinite(value)}
        counts = (0, found.num_generated, found.num_real)
        return SetRecord(protocol, row, self.record.name, *counts, values, found.warning)

    def _loaded_judge(self) -> SetJudge:
        if self._judge is None:
            self._judge = _loaded(self._metric, self._clips.device)
        return self._judge


def build_measurer(metric: AnyMetric, clips: FaceClips, kept: Path, is_strict: bool) -> VideoMeasurer | SetMeasurer:
    """The measurer that a metric needs."""
    if isinstance(metric, SetMetric):
        return SetMeasurer(metric, clips, kept, is_strict)
    if isinstance(metric, Metric):
        return VideoMeasurer(metric, clips, kept, is_strict)
    raise TypeError(f"{metric.name} is neither a Metric nor a SetMetric")


class _LoadError(CheckpointError):
    """A judge's weights cannot be used; no video can be judged."""


def _loaded(metric, device: torch.device):
    try:
        return metric.load(device)
    except CheckpointError as error:
        raise _LoadError(str(error)) from error


def _array_keys(key: str) -> tuple[str, str]:
    return cache_key(key, "generated"), cache_key(key, "real")


def _shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY_ROOT)) if path.is_relative_to(REPOSITORY_ROOT) else str(path)
