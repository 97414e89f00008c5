"""The tables of a report as rows of text, for Markdown and HTML alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.bootstrap import Interval
from eval.metrics.metric import Figure
from eval.results import MetricRecord, Results, SetRecord

MINUS = "\u2212"
FEW_VIDEOS = 10
"""A bootstrap over fewer videos is said to be too narrow."""


@dataclass(frozen=True)
class Table:
    """A title, a header, rows as wide as it, and lines that must stand below."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


def number(value: float | None) -> str:
    """A number with four significant digits at most."""
    if value is None:
        return MINUS
    text = f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.2e}"
    return text.replace("-", MINUS)


def shown_interval(interval: Interval | None) -> str:
    """`mean [low, high]`."""
    if interval is None:
        return "not measured"
    if interval.low is None:
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def heading(figure: Figure) -> str:
    """Name, unit and direction of a figure."""
    unit = f" ({figure.unit})" if figure.unit else ""
    if figure.higher_is_better is None:
        return figure.name + unit + ("" if figure.ideal is None else f", best {number(figure.ideal)}")
    return figure.name + unit + (" \u2191" if figure.higher_is_better else " \u2193")


def introduction(results: Results) -> list[str]:
    """What a reader must know before the tables."""
    failed = sum(video.error is not None for video in results.videos)
    lines = [
        f"{len(results.videos)} videos were judged, {failed} of them failed and count as failed. Every mean is over "
        f"the n videos that have the figure, with its interval in brackets: {results.run['interval']}, seed "
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
    """The metrics that were not used at all, and why."""
    return [f"{one.name}: {one.not_measured}" for one in results.metrics if one.not_measured is not None]


def metric_tables(results: Results, protocol: str) -> list[Table]:
    """Videos of every row, then one table for each metric that was used."""
    used = [metric for metric in results.metrics if metric.not_measured is None]
    return [count_table(results, protocol), *(metric_table(results, metric, protocol) for metric in used)]


def closing_tables(results: Results) -> list[Table]:
    """What holds for all protocols: what is measured, how, and with which weights."""
    return [protocol_table(results.metrics), run_table(results), weights_table(results)]


def count_table(results: Results, protocol: str) -> Table:
    """Videos, failures and frames of every row."""
    rows = []
    for row in results.rows(protocol):
        videos = results.of(protocol, row)
        failed = sum(video.error is not None for video in videos)
        frames = sum(video.num_frames for video in videos)
        speed = [one for one in results.making if (one.protocol, one.row) == (protocol, row)]
        seconds = sum(one.seconds for one in speed)
        made = f"{sum(one.num_frames for one in speed) / seconds:.2f}" if seconds > 0 else MINUS
        rows.append([row, str(len(videos)), str(failed), str(frames), made])
    header = ["row", "videos", "failed", "frames judged", "made at (frames per second)"]
    return Table("Videos", header, rows)


def metric_table(results: Results, metric: MetricRecord, protocol: str) -> Table:
    """One metric: a row a system, a column a figure; how many videos each mean is of."""
    if metric.is_set:
        return _set_table(results, metric, protocol)
    names = [figure.name for figure in metric.figures]
    rows = []
    for row in results.rows(protocol):
        summaries = [results.summary(protocol, row, name) for name in names]
        nums = [0 if one is None else one.interval.num for one in summaries]
        intervals = [None if one is None else one.interval for one in summaries]
        rows.append([row, _counts(nums), *map(shown_interval, intervals)])
    header = ["row", "n", *(heading(figure) for figure in metric.figures)]
    return Table(metric.name, header, rows, tuple(reason_notes(results, metric, protocol)))


def _set_table(results: Results, metric: MetricRecord, protocol: str) -> Table:
    found = [one for one in results.sets if (one.protocol, one.metric) == (protocol, metric.name)]
    names = [figure.name for figure in metric.figures]
    rows = [[one.row, str(one.num_videos), *(_set_value(one, name) for name in names), _samples(one)] for one in found]
    notes = dict.fromkeys(f"{one.row}: {one.warning}" for one in found if one.warning)
    header = ["row", "n", *(heading(figure) for figure in metric.figures), "samples (generated, real)"]
    return Table(metric.name, header, rows, (*notes, *reason_notes(results, metric, protocol)))


def _set_value(record: SetRecord, name: str) -> str:
    if name in record.values:
        return number(record.values[name]) + (" (!)" if record.warning else "")
    return record.not_measured or "not measured"


def _samples(record: SetRecord) -> str:
    return f"{record.num_generated}, {record.num_real}"


def reason_notes(results: Results, metric: MetricRecord, protocol: str) -> list[str]:
    """Why videos have no figures of a metric, each reason once with the number of videos."""
    notes = []
    for row in results.rows(protocol):
        reasons = [video.not_measured.get(metric.name) for video in results.of(protocol, row)]
        for reason in dict.fromkeys(reason for reason in reasons if reason is not None):
            notes.append(f"{row}: {reasons.count(reason)} not measured: {reason.removeprefix('not measured: ')}")
    return notes


def failure_lines(results: Results, protocol: str) -> list[str]:
    """Every failed video with its reason."""
    videos = [video for video in results.videos if video.protocol == protocol and video.error is not None]
    return [f"{video.row}, {video.name}: {video.error}" for video in videos]


def protocol_table(metrics: Sequence[MetricRecord]) -> Table:
    """What each metric's published protocol is, and where ours differs."""
    rows = [[one.name, f"{one.description}", one.protocol] for one in metrics]
    return Table("What is measured, and how published protocols differ", ["metric", "what", "protocol"], rows)


def weights_table(results: Results) -> Table:
    """Content keys of all weights: of the judges, and of what made the videos."""
    rows = [[f"judge {one.name}", file, key] for one in results.metrics for file, key in one.weights.items()]
    seen = {}
    for making in results.making:
        for file, key in making.settings.get("weights", {}).items():
            seen[(making.row, file, key)] = None
    rows += [list(one) for one in seen]
    return Table("Weights (BLAKE2b of the files)", ["who", "file", "hash"], rows)


def run_table(results: Results) -> Table:
    """Seed, device, versions, times."""
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
