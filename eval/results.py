"""Results of an evaluation as plain data (`results.json`), and the ranking of its videos."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eval.bootstrap import Interval, bootstrap_mean
from eval.metrics.metric import Quantity
from eval.pairs import GROUND_TRUTH, SOURCE
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

RESULTS = "results.json"
FORMAT = 1
"""Incremented when older files can no longer be read."""

NUM_RANKED = 5
CONTROLS = (GROUND_TRUTH, SOURCE)

_JSON_KEYS = {"quantity": "figure", "quantities": "figures"}
"""Keys in the JSON files of reports, where they differ from the names of the attributes."""


@dataclass(frozen=True)
class MetricRecord:
    """A metric as it was used.

    Attributes:
        name, version, description, protocol, quantities: see `eval.metrics.metric.AnyMetric`.
        weights: content key of each weight file, by file name.
        is_set: True if its values belong to whole rows.
        not_measured: reason why the metric was not used at all, or None.
    """

    name: str
    version: int
    description: str
    protocol: str
    quantities: list[Quantity]
    weights: dict[str, str]
    is_set: bool
    not_measured: str | None = None


@dataclass(frozen=True)
class VideoRecord:
    """One video of one row.

    Attributes:
        protocol, row, name: identity of the video.
        keys: content keys of `result`, `source`, `audio` and `reference`, as far as these files exist.
        error: reason why the video counts as failed; None if its result can be read.
        num_frames: of the result, according to its file header.
        values: values by the name of the quantity.
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
    """A set metric on one row of one protocol.

    Attributes:
        protocol, row, metric: identity of the record.
        num_videos: number of videos with features.
        num_generated, num_real: number of samples of the two sets.
        values: values by the name of the quantity.
        warning: one line if the values are unreliable, else None.
        not_measured: reason why there are no values, or None.
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
    """How `num_videos` of a row were generated, from their records: `num_frames` in `seconds` with `settings`."""

    protocol: str
    row: str
    num_videos: int
    num_frames: int
    seconds: float
    settings: dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """One quantity of one row: the interval of its mean over videos, and its median."""

    protocol: str
    row: str
    quantity: str
    interval: Interval
    median: float


@dataclass(frozen=True)
class Results:
    """All results of an evaluation. `run` states how they were measured: seed, device, versions, times, lists."""

    run: dict[str, Any]
    metrics: list[MetricRecord]
    videos: list[VideoRecord]
    sets: list[SetRecord]
    making: list[Making]

    def protocols(self) -> list[str]:
        """Return the protocols in the order of the videos."""
        return list(dict.fromkeys(video.protocol for video in self.videos))

    def rows(self, protocol: str) -> list[str]:
        """Return the rows of a protocol in the order of the videos."""
        return list(dict.fromkeys(video.row for video in self.videos if video.protocol == protocol))

    def of(self, protocol: str, row: str) -> list[VideoRecord]:
        """Return the videos of a row."""
        return [video for video in self.videos if (video.protocol, video.row) == (protocol, row)]

    def set_values(self, protocol: str, row: str) -> dict[str, float]:
        """Return the values of all set metrics of a row, by the name of the quantity."""
        records = [one for one in self.sets if (one.protocol, one.row) == (protocol, row)]
        return {name: value for one in records for name, value in one.values.items()}

    def quantities(self) -> dict[str, Quantity]:
        """Return all quantities by name."""
        return {quantity.name: quantity for metric in self.metrics for quantity in metric.quantities}

    def summary(self, protocol: str, row: str, quantity: str) -> Summary | None:
        """Return the summary of a quantity of a row, or None if no video has a value."""
        return self._summaries.get((protocol, row, quantity))

    def summaries(self) -> list[Summary]:
        """Return all summaries."""
        return list(self._summaries.values())

    @cached_property
    def _summaries(self) -> dict[tuple[str, str, str], Summary]:
        values: dict[tuple[str, str, str], list[float]] = {}
        for video in self.videos:
            for quantity, value in video.values.items():
                values.setdefault((video.protocol, video.row, quantity), []).append(value)
        found = {}
        for key, sample in values.items():
            interval = bootstrap_mean(sample, self.run["seed"])
            if interval is not None:
                found[key] = Summary(*key, interval, float(np.median(sample)))
        return found


def badness(quantity: Quantity, value: float) -> float:
    """Return a number that is larger for a worse value of a quantity."""
    if quantity.higher_is_better is not None:
        return -value if quantity.higher_is_better else value
    return abs(value - quantity.ideal) if quantity.ideal is not None else 0.0


def is_ranked(quantity: Quantity) -> bool:
    """Return True if one value of the quantity can be better than another."""
    return quantity.higher_is_better is not None or quantity.ideal is not None


@dataclass(frozen=True)
class Ranking:
    """Extreme videos of one quantity in one row: `worst` with the worst first, `best` with the best first."""

    protocol: str
    row: str
    quantity: Quantity
    worst: list[VideoRecord]
    best: list[VideoRecord]


def rankings(results: Results, protocol: str) -> list[Ranking]:
    """Rank the videos of every row but the controls, for each quantity whose values are not all equal."""
    found = []
    for row in results.rows(protocol):
        if row in CONTROLS:
            continue
        for quantity in results.quantities().values():
            videos = [video for video in results.of(protocol, row) if quantity.name in video.values]
            values = {badness(quantity, video.values[quantity.name]) for video in videos}
            if is_ranked(quantity) and len(values) > 1:
                found.append(Ranking(protocol, row, quantity, *extremes(quantity, videos)))
    return found


def extremes(quantity: Quantity, videos: Sequence[VideoRecord]) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Return the worst five and the best five videos; fewer than ten videos are split in half, without overlap."""
    ordered = sorted(videos, key=lambda video: (-badness(quantity, video.values[quantity.name]), video.name))
    num_best = min(NUM_RANKED, len(ordered) // 2)
    num_worst = min(NUM_RANKED, len(ordered) - num_best)
    return ordered[:num_worst], ordered[::-1][:num_best]


def write_results(results: Results, path: Path) -> None:
    """Write the values of every video and their summaries atomically."""
    content = {
        "format": FORMAT,
        **asdict(results),
        "metrics": [json_record(one) for one in results.metrics],
        "summary": [json_record(one) for one in results.summaries()],
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_results(path: Path) -> Results:
    """Read `results.json`, or that of a report's folder; raise InputError if it is missing or invalid."""
    file = path / RESULTS if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise InputError(f"{file} has format {content['format']}, not {FORMAT}: run the evaluation again")
        return Results(
            run=content["run"],
            metrics=[_metric_record(one) for one in content["metrics"]],
            videos=[VideoRecord(**one) for one in content["videos"]],
            sets=[SetRecord(**one) for one in content["sets"]],
            making=[Making(**one) for one in content["making"]],
        )
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): name a report that eval.run wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no report of eval.run: name another") from error


def json_record(record: Any) -> dict[str, Any]:
    """Convert a dataclass to a dictionary with the keys of the JSON files."""
    return {_JSON_KEYS.get(name, name): value for name, value in asdict(record).items()}


def _metric_record(content: dict[str, Any]) -> MetricRecord:
    quantities: Sequence[dict[str, Any]] = content["figures"]
    others = {name: value for name, value in content.items() if name != "figures"}
    return MetricRecord(
        **others, quantities=[Quantity(**{**one, "needs": tuple(one.get("needs", ()))}) for one in quantities]
    )
