"""Interface of a metric, and discovery of the metrics in this package.

A `Metric` measures one generated video at a time. A `SetMetric` collects features video by video and computes values of
the whole set. Both declare their quantities, the published protocol with our deviations, and their weight files.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

import eval.metrics
from eval.frechet import FeatureStatistics, distance_of, too_few_warning
from eval.pairs import Pair
from latentsync.errors import InputError

if TYPE_CHECKING:
    import torch

    from eval.face_clips import FaceClip, FaceClips


@dataclass(frozen=True)
class Quantity:
    """One value of a metric.

    Attributes:
        name: unique over all metrics, such as `lse_c`.
        unit: such as `dB` or `grey levels`; "" for a pure number.
        higher_is_better: None if neither direction is better, such as for an offset (the best value is `ideal`).
        description: one line.
        ideal: the value of a perfect result, if there is one.
        needs: files it is computed from besides result and audio: `source`, `reference`, `report`.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    description: str
    ideal: float | None = None
    needs: tuple[str, ...] = ()


class LoadedMetric(Protocol):
    """A metric with its networks in memory."""

    def __call__(self, pair: Pair, clips: FaceClips) -> dict[str, float]:
        """Return values by name, all finite; a value that is undefined for this video is omitted.

        Raises:
            NotMeasured: no value can be measured; the message is the reason.
            LatentSyncError: a file cannot be read.
        """
        ...


class AnyMetric:
    """Declarations common to both kinds of metric. Creating an instance loads nothing.

    Attributes:
        name: the metric's name for `--metrics`.
        quantities: its values.
        description: one line.
        protocol: the comparable published protocol, and how ours differs.
        version: incremented when a value changes its meaning, so that stored values are measured again.
    """

    name: str
    quantities: tuple[Quantity, ...]
    description: str
    protocol: str
    version: int = 1

    def weights(self) -> list[Path]:
        """Return the files that `load` reads, whether or not they exist (see `missing_weights`)."""
        return []


class Metric(AnyMetric, ABC):
    """A metric of single videos."""

    @abstractmethod
    def load(self, device: torch.device) -> LoadedMetric:
        """Load the networks; raise CheckpointError if a file is missing or damaged."""


@dataclass(frozen=True)
class FunctionMetric(Metric):
    """A metric without weights, computed by a function on the CPU."""

    name: str
    quantities: tuple[Quantity, ...]
    description: str
    protocol: str
    measure: LoadedMetric

    def load(self, device: torch.device) -> LoadedMetric:
        """Return the function."""
        return self.measure


@dataclass(frozen=True)
class NetworkMetric(Metric):
    """A metric computed by a network from weight files.

    Attributes:
        files: its weight files.
        build: loads the network from `files` onto a device.
    """

    name: str
    quantities: tuple[Quantity, ...]
    description: str
    protocol: str
    files: tuple[Path, ...]
    build: Callable[[tuple[Path, ...], torch.device], LoadedMetric]

    def weights(self) -> list[Path]:
        """Return `files`."""
        return list(self.files)

    def load(self, device: torch.device) -> LoadedMetric:
        """Load the network; raise CheckpointError if a file is missing or damaged."""
        return self.build(self.files, device)


@dataclass(frozen=True)
class SetValues:
    """Values of a whole set.

    Attributes:
        values: by name.
        num_generated, num_real: number of samples (images or windows) of the two sets.
        warning: one line to print beside the values if they are unreliable, else None.
    """

    values: dict[str, float]
    num_generated: int
    num_real: int
    warning: str | None


class LoadedSetMetric(Protocol):
    """A set metric with its network in memory: features of single videos, and values of their statistics."""

    @property
    def num_features(self) -> int:
        """d, the length of a feature vector."""
        ...

    def features(self, pair: Pair, clips: FaceClips) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, d) and (m, d) float32 features of the generated and of the real video.

        The real video is the reference, or the source if there is none. Features are small enough to be stored.

        Raises:
            NotMeasured: see `LoadedMetric`.
        """
        ...

    def values(self, generated: FeatureStatistics, real: FeatureStatistics) -> SetValues:
        """Return the values of a set; raise NotMeasured if it has too few samples for any."""
        ...


class SetMetric(AnyMetric, ABC):
    """A metric of a set of videos.

    Use: `loaded = metric.load(device)`; for every pair `g, r = loaded.features(pair, clips)`, `generated.add(g)` and
    `real.add(r)` with two `FeatureStatistics(loaded.num_features)`; finally `loaded.values(generated, real)`.
    """

    @abstractmethod
    def load(self, device: torch.device) -> LoadedSetMetric:
        """Load the network; raise CheckpointError if a file is missing or damaged."""


@dataclass(frozen=True)
class FrechetMetric(SetMetric):
    """A Frechet distance of network features of face crops, such as FID. The quantity has the metric's name.

    The real set is the references, or the sources of pairs without a reference.

    Attributes:
        num_features: d, the length of a feature vector.
        file: the network's weight file.
        build: loads the network from `file` onto a device; returns a function from a clip to (n, d) float32 features,
            where n may be 0.
    """

    name: str
    quantities: tuple[Quantity, ...]
    description: str
    protocol: str
    num_features: int
    file: Path
    build: Callable[[Path, torch.device], Callable[[FaceClip], np.ndarray]]

    def weights(self) -> list[Path]:
        """Return `file`."""
        return [self.file]

    def load(self, device: torch.device) -> LoadedSetMetric:
        """Load the network; raise CheckpointError if its file is missing or damaged."""
        return FrechetDistance(self.name, self.num_features, self.build(self.file, device))


@dataclass(frozen=True)
class FrechetDistance:
    """A `LoadedSetMetric`; see `FrechetMetric`."""

    name: str
    num_features: int
    features_of: Callable[[FaceClip], np.ndarray]

    def features(self, pair: Pair, clips: FaceClips) -> tuple[np.ndarray, np.ndarray]:
        """See `LoadedSetMetric`."""
        generated = self.features_of(clips.of_result(pair))
        return generated, self.features_of(clips.of_reference(pair))

    def values(self, generated: FeatureStatistics, real: FeatureStatistics) -> SetValues:
        """See `LoadedSetMetric`."""
        distance, warning = distance_of(generated, real), too_few_warning(generated, real)
        return SetValues({self.name: distance}, generated.num_samples, real.num_samples, warning)


def crops_with_reference(pair: Pair, clips: FaceClips) -> tuple[FaceClip, FaceClip]:
    """Return the face crops of a pair's result and of its reference; raise NotMeasured without a reference."""
    pair.required_reference()
    return clips.of_result(pair), clips.of_reference(pair)


def missing_weights(metric: AnyMetric) -> list[Path]:
    """Return the missing weight files of a metric; a metric that lacks one is reported as not measured."""
    return [path for path in metric.weights() if not path.is_file()]


def not_measured_line(metric: AnyMetric) -> str | None:
    """Return `not measured: file ... missing`, or None if every weight file exists."""
    missing = missing_weights(metric)
    if not missing:
        return None
    return f"not measured: file{'s' * (len(missing) > 1)} {', '.join(str(path) for path in missing)} missing"


def all_metrics() -> dict[str, AnyMetric]:
    """Return the METRIC (or METRICS) of every module of `eval.metrics`, by name and sorted by name.

    Raises:
        ValueError: two metrics, or two quantities, share a name.
    """
    found: list[AnyMetric] = []
    for info in pkgutil.iter_modules(eval.metrics.__path__):
        module = import_module(f"{eval.metrics.__name__}.{info.name}")
        found += [module.METRIC] if hasattr(module, "METRIC") else getattr(module, "METRICS", ())
    for names in ([one.name for one in found], [quantity.name for one in found for quantity in one.quantities]):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two metrics or quantities are called {twice[0]!r}: rename one")
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def choose_metrics(text: str) -> list[AnyMetric]:
    """Return the metrics that `--metrics` names: `all`, or comma-separated names, without duplicates.

    Raises:
        InputError: a name is unknown, or there is none.
    """
    known = all_metrics()
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ["all"]:
        return list(known.values())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"unknown metric {unknown[0]!r}" if unknown else "no metric is named"
        raise InputError(f"{what}: use all, or some of {','.join(known)}")
    return [known[name] for name in names]
