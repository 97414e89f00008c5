"""Compare two reports video by video: `python -m eval.compare A B [--out FILE]`.

A and B are folders (or results.json files) of `eval.run`. Differences are B - A on the common videos with equal
inputs and equal versions of the metric. Intervals are of the mean difference over videos.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.bootstrap import Interval, bootstrap_mean
from eval.metrics.metric import Quantity
from eval.report.content import MINUS, Table, heading, number, shown_interval
from eval.report.markdown import markdown_table
from eval.results import RESULTS, MetricRecord, Results, VideoRecord, badness, is_ranked, json_record, read_results
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.storage.output_file import atomic_output, check_output_file


@dataclass(frozen=True)
class Difference:
    """A quantity of one row in two reports.

    Attributes:
        protocol, row, quantity: identity of the value.
        mean_a, mean_b: means over the common videos.
        difference: interval of the mean of B - A over them.
        verdict: `A is better`, `B is better` or `no difference is shown`; empty for a quantity without a best value.
    """

    protocol: str
    row: str
    quantity: str
    mean_a: float
    mean_b: float
    difference: Interval
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Comparison of two reports.

    Attributes:
        differences: of the quantities of single videos.
        sets: (protocol, row, quantity, A, B) of the quantities of whole rows, which have no interval.
        notes: what was skipped and why, one line each.
    """

    differences: list[Difference]
    sets: list[tuple[str, str, str, float, float]]
    notes: list[str]


def compare(first: Results, second: Results, row_a: str | None = None, row_b: str | None = None) -> Comparison:
    """Compare the common rows, or row `row_a` of the first report with `row_b` of the second if they are named.

    Raises:
        InputError: the reports have nothing in common.
    """
    if (row_a is None) != (row_b is None):
        raise InputError("--row_a and --row_b belong together: give both or neither")
    notes: list[str] = []
    metrics = comparable_metrics(first, second, notes)
    differences, sets = [], []
    for protocol in first.protocols():
        common = [(row, row) for row in first.rows(protocol) if row in second.rows(protocol)]
        for rows in common if row_a is None or row_b is None else [(row_a, row_b)]:
            pairs = paired_videos(first, second, protocol, rows, notes)
            name = rows[0] if rows[0] == rows[1] else f"{rows[0]}, {rows[1]}"
            for quantity in (one for metric in metrics if not metric.is_set for one in metric.quantities):
                found = difference_of(quantity, protocol, name, pairs, first.run["seed"])
                differences += [] if found is None else [found]
            sets += set_differences(first, second, protocol, rows, name, metrics)
    if not differences and not sets:
        why = f" ({notes[0]})" if notes else ""
        raise InputError(f"the reports have no value of one video in common{why}: compare others")
    return Comparison(differences, sets, list(dict.fromkeys(notes)))


def comparable_metrics(first: Results, second: Results, notes: list[str]) -> list[MetricRecord]:
    """Return the metrics that both reports used with equal versions and weights."""
    chosen = []
    others = {metric.name: metric for metric in second.metrics}
    for metric in first.metrics:
        other = others.get(metric.name)
        if other is None or metric.not_measured is not None or other.not_measured is not None:
            continue
        if (metric.version, sorted(metric.weights.values())) != (other.version, sorted(other.weights.values())):
            notes.append(f"{metric.name}: skipped, its version or its weights differ")
        else:
            chosen.append(metric)
    settings = ("detector", "crop_resolution")
    if any(first.run.get(name) != second.run.get(name) for name in settings):
        notes.append("the reports differ in how faces were found or cropped: differences may come from that")
    return chosen


def paired_videos(
    first: Results, second: Results, protocol: str, rows: tuple[str, str], notes: list[str]
) -> list[tuple[VideoRecord, VideoRecord]]:
    """Return the common videos with equal source, audio and reference; others are counted in the notes."""
    partners = {video.name: video for video in second.of(protocol, rows[1])}
    videos = first.of(protocol, rows[0])
    found, num_other_input = [], 0
    for video in videos:
        partner = partners.get(video.name)
        if partner is None:
            continue
        if _inputs(video) != _inputs(partner):
            num_other_input += 1
        else:
            found.append((video, partner))
    where = f"{protocol}, {rows[0] if rows[0] == rows[1] else ' and '.join(rows)}"
    notes.append(f"{where}: {len(found)} videos in common, of {len(videos)} in A and {len(partners)} in B")
    if num_other_input:
        notes.append(f"{where}: {num_other_input} videos of one name, but of other inputs, are skipped")
    failed = [sum(one.error is not None for one in side) for side in zip(*found, strict=True)] or [0, 0]
    if any(failed):
        notes.append(f"{where}: of those in common {failed[0]} failed in A and {failed[1]} in B")
    return found


def difference_of(
    quantity: Quantity, protocol: str, row: str, pairs: Sequence[tuple[VideoRecord, VideoRecord]], seed: int
) -> Difference | None:
    """Return the paired difference of a quantity over the videos with both values, or None if there are none."""
    values = [
        (one.values[quantity.name], other.values[quantity.name])
        for one, other in pairs
        if quantity.name in one.values and quantity.name in other.values
    ]
    interval = bootstrap_mean([second - first for first, second in values], seed)
    if interval is None:
        return None
    mean_a, mean_b = (sum(side) / len(values) for side in zip(*values, strict=True))
    return Difference(protocol, row, quantity.name, mean_a, mean_b, interval, verdict(quantity, values, seed))


def verdict(quantity: Quantity, values: Sequence[tuple[float, float]], seed: int) -> str:
    """Return which side is better if the interval of the difference in badness excludes zero."""
    if not is_ranked(quantity):
        return ""
    worse = bootstrap_mean([badness(quantity, second) - badness(quantity, first) for first, second in values], seed)
    if worse is None or worse.low is None or worse.high is None:
        return "no difference is shown"
    if worse.low > 0:
        return "A is better"
    return "B is better" if worse.high < 0 else "no difference is shown"


def set_differences(
    first: Results,
    second: Results,
    protocol: str,
    rows: tuple[str, str],
    name: str,
    metrics: Sequence[MetricRecord],
) -> list[tuple[str, str, str, float, float]]:
    """Return the values of whole rows in both reports."""
    ours, theirs = first.set_values(protocol, rows[0]), second.set_values(protocol, rows[1])
    quantities = [quantity.name for metric in metrics if metric.is_set for quantity in metric.quantities]
    return [(protocol, name, one, ours[one], theirs[one]) for one in quantities if one in ours and one in theirs]


def to_markdown(comparison: Comparison, quantities: dict[str, Quantity]) -> str:
    """Return the comparison as Markdown."""
    parts = ["# Comparison (B \u2212 A, paired by video)"]
    for protocol, row in dict.fromkeys((one.protocol, one.row) for one in comparison.differences):
        chosen = [one for one in comparison.differences if (one.protocol, one.row) == (protocol, row)]
        rows = [
            [
                heading(quantities[one.quantity]),
                str(one.difference.num),
                number(one.mean_a),
                number(one.mean_b),
                shown_interval(one.difference),
                one.verdict,
            ]
            for one in chosen
        ]
        header = ["metric", "n", "A", "B", f"B {MINUS} A", "verdict"]
        parts.append(markdown_table(Table(f"{protocol}: {row}", header, rows), 2))
    if comparison.sets:
        header = ["protocol", "row", "metric", "A", "B"]
        rows = [[*one[:2], heading(quantities[one[2]]), number(one[3]), number(one[4])] for one in comparison.sets]
        notes = ("no intervals: these are values of whole rows, regardless of which videos they contain",)
        parts.append(markdown_table(Table("Values of whole sets", header, rows, notes), 2))
    caution = "one of twenty verdicts is expected to be wrong if nothing differs: many quantities are compared"
    parts.append("## Notes\n\n" + "\n".join(f"- {line}" for line in (*comparison.notes, caution)))
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(
        prog="python -m eval.compare",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=Path, metavar="A", help="folder of a report, or its results.json")
    parser.add_argument("second", type=Path, metavar="B", help="the report to compare with A")
    parser.add_argument("--out", type=Path, help="also write the comparison to a file: .md, or .json with all digits")
    parser.add_argument("--row_a", help="compare this row of A ...")
    parser.add_argument("--row_b", help="... with this row of B")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.out is not None:
        check_output_file(options.out, _read_files(options), suffixes=(".md", ".json"))
    first, second = read_results(options.first), read_results(options.second)
    comparison = compare(first, second, options.row_a, options.row_b)
    text = to_markdown(comparison, first.quantities())
    if options.out is not None:
        _write(comparison, text, options.out)
    print(text, end="")
    return 0


def _read_files(options: argparse.Namespace) -> list[Path]:
    """Return the files of both reports, none of which may be overwritten."""
    folders = (path if path.is_dir() else path.parent for path in (options.first, options.second))
    reports = [folder / name for folder in folders for name in (RESULTS, "report.md", "sanity.md", "sanity.json")]
    return [options.first, options.second, *reports]


def _write(comparison: Comparison, text: str, out: Path) -> None:
    with atomic_output(out) as temporary:
        content = text if out.suffix == ".md" else json.dumps(_json(comparison), indent=1) + "\n"
        temporary.write_text(content, encoding="utf-8")


def _json(comparison: Comparison) -> dict[str, object]:
    content = json_record(comparison)
    return {**content, "differences": [json_record(one) for one in comparison.differences]}


def _inputs(video: VideoRecord) -> dict[str, str]:
    return {name: key for name, key in video.keys.items() if name != "result"}


if __name__ == "__main__":
    sys.exit(main())
