"""Content of a report: the order of its parts and its tables as text, for HTML and Markdown alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eval.bootstrap import Interval
from eval.metrics.metric import Quantity
from eval.report.images import ReportImages
from eval.results import MetricRecord, Ranking, Results, SetRecord, rankings

MINUS = "\u2212"
FEW_VIDEOS = 10
"""Below this number of videos the report warns that bootstrap intervals are too narrow."""


@dataclass(frozen=True)
class Table:
    """A table with a title, a header, rows of the same width, and notes to print below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


class ReportFormat(Protocol):
    """A format in which reports are written; every method returns one part of the report."""

    def title(self, text: str) -> str:
        """Return the title of the report."""
        ...

    def paragraph(self, text: str) -> str:
        """Return a paragraph."""
        ...

    def section(self, title: str) -> str:
        """Return the title of a section."""
        ...

    def bullets(self, title: str, level: int, lines: Sequence[str]) -> str:
        """Return a heading of a level (1 is the report's title) and a list below it."""
        ...

    def table(self, table: Table, level: int) -> str:
        """Return a table with a heading of a level and its notes."""
        ...

    def plot(self, protocol: str, file: str) -> str:
        """Return the plot of a protocol, a file relative to the report."""
        ...

    def rankings(self, ranked: Sequence[Ranking]) -> str:
        """Return the worst and best videos with their contact sheets."""
        ...


def report_parts(results: Results, images: ReportImages, form: ReportFormat) -> list[str]:
    """Return all parts of a report in order."""
    parts = [form.title("Evaluation"), *map(form.paragraph, introduction(results))]
    unmeasured = unmeasured_lines(results)
    if unmeasured:
        parts.append(form.bullets("Not measured", 2, unmeasured))
    for protocol in results.protocols():
        parts.append(form.section(f"Protocol: {protocol}"))
        parts += [form.table(table, 3) for table in metric_tables(results, protocol)]
        failures = failure_lines(results, protocol)
        if failures:
            parts.append(form.bullets("Failed", 3, failures))
        if protocol in images.plots:
            parts.append(form.plot(protocol, images.plots[protocol]))
        ranked = rankings(results, protocol)
        if ranked:
            parts.append(form.rankings(ranked))
    closing = (protocol_table(results.metrics), run_table(results), weights_table(results))
    return parts + [form.table(table, 2) for table in closing]


def number(value: float | None) -> str:
    """Format a number with at most four significant digits."""
    if value is None:
        return MINUS
    text = f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.2e}"
    return text.replace("-", MINUS)


def shown_interval(interval: Interval | None) -> str:
    """Format an interval as `mean [low, high]`."""
    if interval is None:
        return "not measured"
    if interval.low is None:
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def heading(quantity: Quantity) -> str:
    """Return name, unit and direction of a quantity."""
    unit = f" ({quantity.unit})" if quantity.unit else ""
    if quantity.higher_is_better is None:
        return quantity.name + unit + ("" if quantity.ideal is None else f", best {number(quantity.ideal)}")
    return quantity.name + unit + (" \u2191" if quantity.higher_is_better else " \u2193")


def introduction(results: Results) -> list[str]:
    """Return the paragraphs that explain the tables."""
    failed = sum(video.error is not None for video in results.videos)
    lines = [
        f"{len(results.videos)} videos were evaluated, {failed} of them failed and count as failed. Every mean is over "
        f"the n videos that have a value, with its interval in brackets: {results.run['interval']}, seed "
        f"{results.run['seed']}. The row ground_truth is what a perfect model would give, the row source a model that "
        "does nothing. Contact sheets show the reference (else the source) above the result."
    ]
    fewest = min((one.interval.num for one in results.summaries()), default=0)
    if fewest < FEW_VIDEOS:
        lines.append(
            f"Some means are of fewer than {FEW_VIDEOS} videos: their intervals are too narrow to be relied on."
        )
    return lines


def unmeasured_lines(results: Results) -> list[str]:
    """Return the metrics that were not used at all, with reasons."""
    return [f"{one.name}: {one.not_measured}" for one in results.metrics if one.not_measured is not None]


def metric_tables(results: Results, protocol: str) -> list[Table]:
    """Return the table of videos per row, then one table per metric that was used."""
    used = [metric for metric in results.metrics if metric.not_measured is None]
    return [count_table(results, protocol), *(metric_table(results, metric, protocol) for metric in used)]


def count_table(results: Results, protocol: str) -> Table:
    """Return the numbers of videos, failures and frames of every row."""
    rows = []
    for row in results.rows(protocol):
        videos = results.of(protocol, row)
        failed = sum(video.error is not None for video in videos)
        frames = sum(video.num_frames for video in videos)
        making = [one for one in results.making if (one.protocol, one.row) == (protocol, row)]
        seconds = sum(one.seconds for one in making)
        speed = f"{sum(one.num_frames for one in making) / seconds:.2f}" if seconds > 0 else MINUS
        rows.append([row, str(len(videos)), str(failed), str(frames), speed])
    header = ["row", "videos", "failed", "frames evaluated", "made at (frames per second)"]
    return Table("Videos", header, rows)


def metric_table(results: Results, metric: MetricRecord, protocol: str) -> Table:
    """Return the table of one metric: one row per system, one column per quantity, and the number of videos."""
    if metric.is_set:
        return _set_table(results, metric, protocol)
    names = [quantity.name for quantity in metric.quantities]
    rows = []
    for row in results.rows(protocol):
        summaries = [results.summary(protocol, row, name) for name in names]
        nums = [0 if one is None else one.interval.num for one in summaries]
        intervals = [None if one is None else one.interval for one in summaries]
        rows.append([row, _counts(nums), *map(shown_interval, intervals)])
    header = ["row", "n", *(heading(quantity) for quantity in metric.quantities)]
    return Table(metric.name, header, rows, tuple(reason_notes(results, metric, protocol)))


def _set_table(results: Results, metric: MetricRecord, protocol: str) -> Table:
    found = [one for one in results.sets if (one.protocol, one.metric) == (protocol, metric.name)]
    names = [quantity.name for quantity in metric.quantities]
    rows = [[one.row, str(one.num_videos), *(_set_value(one, name) for name in names), _samples(one)] for one in found]
    notes = dict.fromkeys(f"{one.row}: {one.warning}" for one in found if one.warning)
    header = ["row", "n", *(heading(quantity) for quantity in metric.quantities), "samples (generated, real)"]
    return Table(metric.name, header, rows, (*notes, *reason_notes(results, metric, protocol)))


def _set_value(record: SetRecord, name: str) -> str:
    if name in record.values:
        return number(record.values[name]) + (" (!)" if record.warning else "")
    return record.not_measured or "not measured"


def _samples(record: SetRecord) -> str:
    return f"{record.num_generated}, {record.num_real}"


def reason_notes(results: Results, metric: MetricRecord, protocol: str) -> list[str]:
    """Return the reasons why videos have no values of a metric, each once with the number of videos."""
    notes = []
    for row in results.rows(protocol):
        reasons = [video.not_measured.get(metric.name) for video in results.of(protocol, row)]
        for reason in dict.fromkeys(reason for reason in reasons if reason is not None):
            notes.append(f"{row}: {reasons.count(reason)} not measured: {reason.removeprefix('not measured: ')}")
    return notes


def failure_lines(results: Results, protocol: str) -> list[str]:
    """Return every failed video with its reason."""
    videos = [video for video in results.videos if video.protocol == protocol and video.error is not None]
    return [f"{video.row}, {video.name}: {video.error}" for video in videos]


def protocol_table(metrics: Sequence[MetricRecord]) -> Table:
    """Return the published protocol of each metric, and how ours differs."""
    rows = [[one.name, one.description, one.protocol] for one in metrics]
    return Table("What is measured, and how published protocols differ", ["metric", "what", "protocol"], rows)


def weights_table(results: Results) -> Table:
    """Return content keys of all weights: of the metrics, and of the models that generated the videos."""
    rows = [[f"metric {one.name}", file, key] for one in results.metrics for file, key in one.weights.items()]
    seen = {}
    for making in results.making:
        for file, key in making.settings.get("weights", {}).items():
            seen[(making.row, file, key)] = None
    rows += [list(one) for one in seen]
    return Table("Weights (BLAKE2b of the files)", ["used by", "file", "hash"], rows)


def run_table(results: Results) -> Table:
    """Return seed, device, versions and times."""
    run = results.run
    rows = [[name.replace("_", " "), _text(value)] for name, value in run.items()]
    for making in results.making:
        settings = {name: value for name, value in making.settings.items() if name not in ("weights", "model")}
        label = f"{making.row}, {making.protocol}: {making.num_videos} videos made with"
        rows.append([label, _text(settings)])
    return Table("How it was measured", ["what", ""], rows)


def _counts(nums: Sequence[int]) -> str:
    return str(nums[0]) if len(set(nums)) == 1 else ", ".join(map(str, nums))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value)
    return MINUS if value is None else str(value)
