"""What an evaluation found, as plain data: `results.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eval.bootstrap import Interval, bootstrap_mean
from eval.metrics.metric import Figure
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

FORMAT = 1
"""Counted up when older files can no longer be read."""


@dataclass(frozen=True)
class MetricRecord:
    """A metric as it was used.

    Attributes:
        name, version, description, protocol, figures: as `eval.metrics.metric.Metric` says.
        weights: content key of each file, by its name.
        is_set: whether its figures belong to whole rows.
        not_measured: why it was not used at all; None where it was.
    """

    name: str
    version: int
    description: str
    protocol: str
    figures: list[Figure]
    weights: dict[str, str]
    is_set: bool
    not_measured: str | None = None


@dataclass(frozen=True)
class VideoRecord:
    """One video of one row.

    Attributes:
        protocol, row, name: which.
        keys: content keys of `result`, `source`, `audio`, `reference`, as far as they are there.
        error: why it counts as failed; None where there is a result that can be read.
        num_frames: of the result, as its file says.
        values: figures by name.
        not_measured: reasons by the name of the metric.
    """

    protocol: str
    row: str
    name: str
    keys: dict[str, str]
    error: str | None = None
    num_frames: int = 0
    values: dict[str, float] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, str]:
        """Protocol, row, name."""
        return self.protocol, self.row, self.name


@dataclass(frozen=True)
class SetRecord:
    """A set metric on one row of one protocol: values with a warning where they are not to be trusted, or a reason.

    `num_videos` gave features; `num_generated` and `num_real` are the samples they came to.
    """

    protocol: str
    row: str
    metric: str
    num_videos: int
    num_generated: int = 0
    num_real: int = 0
    values: dict[str, float] = field(default_factory=dict)
    warning: str | None = None
    not_measured: str | None = None


@dataclass(frozen=True)
class Making:
    """How the videos of a row were made, from their records.

    `settings` are those of `num_videos` of them; `num_frames` were made in `seconds`.
    """

    protocol: str
    row: str
    num_videos: int
    num_frames: int
    seconds: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """One figure of one row: the interval of its mean over videos, and its median."""

    protocol: str
    row: str
    figure: str
    interval: Interval
    median: float


@dataclass(frozen=True)
class Results:
    """Everything that is reported. `run` says how it was measured: seed, device, versions, times, lists."""

    run: dict[str, Any]
    metrics: list[MetricRecord]
    videos: list[VideoRecord]
    sets: list[SetRecord]
    making: list[Making]

    def protocols(self) -> list[str]:
        """Protocols in the order of the videos."""
        return list(dict.fromkeys(video.protocol for video in self.videos))

    def rows(self, protocol: str) -> list[str]:
        """Rows of a protocol in the order of the videos."""
        return list(dict.fromkeys(video.row for video in self.videos if video.protocol == protocol))

    def of(self, protocol: str, row: str) -> list[VideoRecord]:
        """The videos of a row."""
        return [video for video in self.videos if (video.protocol, video.row) == (protocol, row)]

    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        return {figure.name: figure for metric in self.metrics for figure in metric.figures}

    def summary(self, protocol: str, row: str, figure: str) -> Summary | None:
        """A figure of a row; None where no video has it."""
        return self._summaries.get((protocol, row, figure))

    def summaries(self) -> list[Summary]:
        """All of them."""
        return list(self._summaries.values())

    @cached_property
    def _summaries(self) -> dict[tuple[str, str, str], Summary]:
        values: dict[tuple[str, str, str], list[float]] = {}
        for video in self.videos:
            for figure, value in video.values.items():
                values.setdefault((video.protocol, video.row, figure), []).append(value)
        found = {}
        for key, sample in values.items():
            interval = bootstrap_mean(sample, self.run["seed"])
            if interval is not None:
                found[key] = Summary(*key, interval, float(np.median(sample)))
        return found


def badness(figure: Figure, value: float) -> float:
    """A number that is larger for a worse value of a figure."""
    if figure.higher_is_better is not None:
        return -value if figure.higher_is_better else value
    return abs(value - figure.ideal) if figure.ideal is not None else 0.0


def is_ranked(figure: Figure) -> bool:
    """Whether one value of it can be better than another."""
    return figure.higher_is_better is not None or figure.ideal is not None


def write_results(results: Results, path: Path) -> None:
    """Writes them, with the summary beside the values of every video; the file appears whole."""
    content = {"format": FORMAT, **asdict(results), "summary": [asdict(one) for one in results.summaries()]}
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Results from `results.json`, or from the report's folder. Raises InputError where they cannot be read."""
    file = path / "results.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise InputError(f"{file} has format {content['format']}, not {FORMAT}: run the evaluation again")
        return Results(
            run=content["run"],
            metrics=[_metric(one) for one in content["metrics"]],
            videos=[VideoRecord(**one) for one in content["videos"]],
            sets=[SetRecord(**one) for one in content["sets"]],
            making=[Making(**one) for one in content["making"]],
        )
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): name a report that eval.run wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no report of eval.run: name another") from error


def _metric(content: dict[str, Any]) -> MetricRecord:
    figures: Sequence[dict[str, Any]] = content["figures"]
    return MetricRecord(
        **{**content, "figures": [Figure(**{**one, "needs": tuple(one.get("needs", ()))}) for one in figures]}
    )
