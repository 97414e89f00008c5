"""Measure videos with one metric: load its network on first use, store the results, and continue after failures."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from eval.face_clips import FaceClips
from eval.frechet import FeatureStatistics
from eval.metrics.metric import AnyMetric, LoadedMetric, LoadedSetMetric, Metric, SetMetric, missing_weights
from eval.pairs import Pair
from eval.results import MetricRecord, SetRecord
from eval.source_order import repeat_of
from eval.stored_results import ResultStore, Values
from latentsync.errors import CheckpointError, LatentSyncError, NotMeasured
from latentsync.storage.content_cache import ArrayCache, cache_key
from latentsync.weights import REPOSITORY_ROOT

logger = logging.getLogger(__name__)

_VERSION = 1
"""Incremented when the stored results change their format."""


class MetricRunner:
    """Measure pairs with one metric; see `VideoMetricRunner` and `SetMetricRunner`.

    Attributes:
        record: the metric as it is used here; states the reason if it cannot be used.
        num_measured, num_stored: pairs measured in this run, and pairs whose results were already stored.

    Args:
        metric: the metric.
        clips: face crops; its content keys identify the stored results.
        stored: folder of the stored results.
        is_strict: True if missing or damaged weights are an error.

    Raises:
        CheckpointError: `is_strict` and a weight file is missing.
    """

    def __init__(self, metric: AnyMetric, clips: FaceClips, stored: Path, is_strict: bool) -> None:
        self.num_measured = self.num_stored = 0
        self._clips = clips
        self._is_strict = is_strict
        self._needs = {need for quantity in metric.quantities for need in quantity.needs}
        missing = missing_weights(metric)
        files = [] if missing else metric.weights()
        weights = {path.name: clips.content_key(path) for path in files}
        self.record = MetricRecord(
            name=metric.name,
            version=metric.version,
            description=metric.description,
            protocol=metric.protocol,
            quantities=list(metric.quantities),
            weights=weights,
            is_set=isinstance(metric, SetMetric),
        )
        if missing:
            names = ", ".join(_shown(path) for path in missing)
            self._give_up(f"not measured: file{'s' * (len(missing) > 1)} {names} missing")
        parts = (metric.name, metric.version, clips.device.type, clips.settings_key, *weights.values())
        self._metric_key = cache_key("eval figures", _VERSION, *parts)
        self._store = ResultStore(stored)

    @property
    def measures_failures(self) -> bool:
        """True if the metric reads only the record of the generation, so that failed videos can be measured."""
        return self._needs == {"report"} and all(quantity.needs for quantity in self.record.quantities)

    def measure(self, pair: Pair) -> tuple[Values, str | None]:
        """Return the values of a pair, and the reason if there are none. Failures are logged, not raised."""
        if self.record.not_measured is not None:
            return {}, self.record.not_measured
        key = self.key(pair)
        stored = self.stored(key)
        if stored is not None:
            self.num_stored += 1
            return stored
        try:
            values = self.compute(pair, key)
        except NotMeasured as error:
            self._store.write(key, {"values": {}, "reason": str(error)})
            self.num_measured += 1
            return {}, str(error)
        except _LoadError as error:
            self._give_up(f"not measured: {error}")
            return {}, self.record.not_measured
        except LatentSyncError as error:
            return {}, str(error)
        except Exception as error:  # an error in one metric must not stop the others
            logger.warning("%s failed on %s", self.record.name, pair.name, exc_info=error)
            return {}, f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
        self._store.write(key, {"values": values, "reason": None})
        self.num_measured += 1
        return values, None

    def key(self, pair: Pair) -> str:
        """Return the key of a pair's stored result: contents of its files, the metric, its version and weights."""
        files = [pair.result, pair.source, pair.audio, pair.reference]
        files.append(pair.report if "report" in self._needs else None)
        keys = [self._clips.content_key(path) if path is not None and path.is_file() else "-" for path in files]
        return cache_key(self._metric_key, *keys, _repeat_key(pair))

    def stored(self, key: str) -> tuple[Values, str | None] | None:
        """Return the stored values and reason, or None."""
        found = self._store.read(key)
        return None if found is None else (found["values"], found["reason"])

    def compute(self, pair: Pair, key: str) -> Values:
        """Measure a pair."""
        raise NotImplementedError

    def _give_up(self, reason: str) -> None:
        if self._is_strict:
            raise CheckpointError(f"{self.record.name}: {reason} (--strict)")
        self.record = replace(self.record, not_measured=reason)


class VideoMetricRunner(MetricRunner):
    """Runs a `Metric`."""

    def __init__(self, metric: Metric, clips: FaceClips, stored: Path, is_strict: bool) -> None:
        super().__init__(metric, clips, stored, is_strict)
        self._metric = metric
        self._loaded: LoadedMetric | None = None

    def compute(self, pair: Pair, key: str) -> Values:
        """Measure a pair; raise ValueError if a value is not finite or not declared by the metric."""
        if self._loaded is None:
            self._loaded = _load(self._metric, self._clips.device)
        names = {quantity.name for quantity in self.record.quantities}
        values = {name: float(value) for name, value in self._loaded(pair, self._clips).items()}
        wrong = [name for name, value in values.items() if name not in names or not math.isfinite(value)]
        if wrong:
            raise ValueError(f"{wrong[0]} = {values[wrong[0]]} is not finite or not declared by the metric")
        return values


class SetMetricRunner(MetricRunner):
    """Runs a `SetMetric`. Features are stored as arrays on disk, so that memory does not grow with the set."""

    def __init__(self, metric: SetMetric, clips: FaceClips, stored: Path, is_strict: bool) -> None:
        super().__init__(metric, clips, stored, is_strict)
        self._metric = metric
        self._arrays = ArrayCache(stored)
        self._loaded: LoadedSetMetric | None = None

    def stored(self, key: str) -> tuple[Values, str | None] | None:
        """Return the stored result, or None if there is none or its features are missing."""
        found = super().stored(key)
        is_whole = found is not None and (found[1] is not None or all(map(self._arrays.holds, _array_keys(key))))
        return found if is_whole else None

    def compute(self, pair: Pair, key: str) -> Values:
        """Store the features of a pair; a single video has no values."""
        features = self._network().features(pair, self._clips)
        for name, array in zip(_array_keys(key), features, strict=True):
            self._arrays.get(name, lambda array=array: np.asarray(array, dtype=np.float32))
        return {}

    def values_of(self, protocol: str, row: str, pairs: Sequence[Pair]) -> SetRecord:
        """Return the values of a whole row, from the features that `measure` stored."""
        if self.record.not_measured is not None:
            return SetRecord(protocol, row, self.record.name, 0, not_measured=self.record.not_measured)
        generated, real, num_videos = None, None, 0
        for pair in pairs:
            arrays = [self._arrays.read(name) for name in _array_keys(self.key(pair))]
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
            found = self._network().values(generated, real)
        except LatentSyncError as error:
            counts = (num_videos, generated.num_samples, real.num_samples)
            return SetRecord(protocol, row, self.record.name, *counts, not_measured=str(error))
        values = {name: float(value) for name, value in found.values.items() if math.isfinite(value)}
        counts = (num_videos, found.num_generated, found.num_real)
        return SetRecord(protocol, row, self.record.name, *counts, values, found.warning)

    def _network(self) -> LoadedSetMetric:
        if self._loaded is None:
            self._loaded = _load(self._metric, self._clips.device)
        return self._loaded


def build_runner(
    metric: AnyMetric, clips: FaceClips, stored: Path, is_strict: bool
) -> VideoMetricRunner | SetMetricRunner:
    """Return the runner of a metric; see `MetricRunner`."""
    if isinstance(metric, SetMetric):
        return SetMetricRunner(metric, clips, stored, is_strict)
    if isinstance(metric, Metric):
        return VideoMetricRunner(metric, clips, stored, is_strict)
    raise TypeError(f"{metric.name} is neither a Metric nor a SetMetric")


class _LoadError(CheckpointError):
    """A metric's weights are invalid, so that no video can be measured."""


def _load(metric, device: torch.device):
    try:
        return metric.load(device)
    except CheckpointError as error:
        raise _LoadError(str(error)) from error


def _array_keys(key: str) -> tuple[str, str]:
    return cache_key(key, "generated"), cache_key(key, "real")


def _repeat_key(pair: Pair) -> str:
    """Return the part of a key that tells how the source was repeated."""
    try:
        return str(repeat_of(pair))
    except NotMeasured as error:
        return str(error)


def _shown(path: Path) -> str:
    return str(path.relative_to(REPOSITORY_ROOT)) if path.is_relative_to(REPOSITORY_ROOT) else str(path)
