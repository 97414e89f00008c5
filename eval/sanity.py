"""Does every metric put good above bad? Spoils ground truth in known ways and states what each metric makes of it.

    python -m eval.sanity --pairs pairs.csv --out sanity/

Writes the report of `eval.run` with a row for each damage, and the table as `sanity.md` and `sanity.json`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.bootstrap import bootstrap_mean
from eval.damage import DAMAGES, damaged_pairs
from eval.face_clips import FaceClips
from eval.metrics.metric import Figure
from eval.metrics.registry import choose_metrics
from eval.pairs import GROUND_TRUTH, MODEL, Pair, read_pair_lists
from eval.protocols import PROTOCOLS, RECONSTRUCTION
from eval.report.folder import DAMAGED, report_folder
from eval.report.markdown import markdown_table
from eval.report.tables import FEW_VIDEOS, MINUS, Table, heading, number, unmeasured_lines
from eval.results import Results, badness, is_ranked
from eval.run import WHEN_STOPPED, build_parser, limited, run
from latentsync.cli import run_command
from latentsync.device import resolve_device
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

WORSE, EQUAL, UNCLEAR, BETTER, UNKNOWN = "worse", "equal", "unclear", "better", "not measured"
"""What a figure says of one row against another: `equal` on every video means that it does not look at the damage."""

_SIGNS = {WORSE: "\u2713", EQUAL: "=", UNCLEAR: "?", BETTER: "\u2717", UNKNOWN: ""}


@dataclass(frozen=True)
class FigureOrder:
    """How one figure orders the rows.

    Attributes:
        figure: its name.
        is_set: whether it belongs to whole rows, so that there is no interval behind a word.
        means: by row.
        against_truth: for every other row what it is against ground truth.
        against_good: for every damage what it is against the model's output.
    """

    figure: str
    is_set: bool
    means: dict[str, float]
    against_truth: dict[str, str]
    against_good: dict[str, str]

    def statement(self) -> str:
        """Which damages it puts below ground truth, and which not."""
        damages = {row: word for row, word in self.against_truth.items() if row in DAMAGES}
        if not damages or all(word == UNKNOWN for word in damages.values()):
            return UNKNOWN
        if all(word == WORSE for word in damages.values()):
            return "orders all"
        labels = {BETTER: "WRONG on", UNCLEAR: "not shown for", EQUAL: "does not look at", UNKNOWN: "not measured for"}
        parts = []
        for word, label in labels.items():
            rows = [row for row, found in damages.items() if found == word]
            parts += [f"{label} {', '.join(rows)}"] if rows else []
        return "; ".join(parts)


def sanity_pairs(pairs: Sequence[Pair], protocol: str, clips: FaceClips, folder: Path, seed: int) -> list[Pair]:
    """Ground truths that have a reference, the model's results of the same names, and the damaged ground truths.

    Raises:
        InputError: the list has fewer than two such ground truths, or a file cannot be used.
    """
    chosen = [pair for pair in pairs if pair.protocol == protocol]
    truths = [pair for pair in chosen if pair.row == GROUND_TRUTH and pair.reference is not None]
    if len(truths) < 2:
        raise InputError(f"the list has {len(truths)} ground truths of the protocol {protocol}: two are needed")
    names = {pair.name for pair in truths}
    good = [pair for pair in chosen if pair.row == MODEL and pair.name in names]
    return [*truths, *good, *damaged_pairs(truths, clips, folder, seed)]


def orders(results: Results, protocol: str) -> list[FigureOrder]:
    """What every ranked figure makes of the rows."""
    found = []
    for metric in results.metrics:
        for figure in metric.figures:
            if is_ranked(figure):
                found.append(_order(results, protocol, figure, metric.is_set))
    return found


def _order(results: Results, protocol: str, figure: Figure, is_set: bool) -> FigureOrder:
    means = {}
    for row in results.rows(protocol):
        value = _set_value(results, protocol, row, figure.name) if is_set else _mean(results, protocol, row, figure)
        if value is not None:
            means[row] = value
    others = [row for row in (MODEL, *DAMAGES) if row in results.rows(protocol)]
    words = {
        upper: {row: _word(results, protocol, figure, is_set, upper, row) for row in others if row != upper}
        for upper in (GROUND_TRUTH, MODEL)
    }
    return FigureOrder(figure.name, is_set, means, words[GROUND_TRUTH], words[MODEL])


def _word(results: Results, protocol: str, figure: Figure, is_set: bool, upper: str, lower: str) -> str:
    """What `lower` is against `upper`."""
    if is_set:
        values = [_set_value(results, protocol, row, figure.name) for row in (upper, lower)]
        if values[0] is None or values[1] is None:
            return UNKNOWN
        apart = badness(figure, values[1]) - badness(figure, values[0])
        return WORSE if apart > 0 else BETTER if apart < 0 else EQUAL
    uppers = {video.name: video.values.get(figure.name) for video in results.of(protocol, upper)}
    lowers = {video.name: video.values.get(figure.name) for video in results.of(protocol, lower)}
    apart = [
        badness(figure, value) - badness(figure, best)
        for name, value in lowers.items()
        if value is not None and (best := uppers.get(name)) is not None
    ]
    interval = bootstrap_mean(apart, results.run["seed"])
    if interval is None:
        return UNKNOWN
    if not any(apart):
        return EQUAL
    if interval.low is None or interval.high is None or interval.low <= 0 <= interval.high:
        return UNCLEAR
    return WORSE if interval.low > 0 else BETTER


def _mean(results: Results, protocol: str, row: str, figure: Figure) -> float | None:
    summary = results.summary(protocol, row, figure.name)
    return None if summary is None else summary.interval.mean


def _set_value(results: Results, protocol: str, row: str, figure: str) -> float | None:
    records = [one for one in results.sets if (one.protocol, one.row) == (protocol, row)]
    return next((one.values[figure] for one in records if figure in one.values), None)


def sanity_markdown(results: Results, protocol: str) -> str:
    """The table and what it says."""
    found, figures = orders(results, protocol), results.figures()
    rows = [row for row in (GROUND_TRUTH, MODEL, *DAMAGES) if row in results.rows(protocol)]
    lines = []
    judged = [order for order in found if order.statement() != UNKNOWN]
    for order in judged:
        cells = [
            f"{number(order.means.get(row))} {_SIGNS[order.against_truth.get(row, UNKNOWN)]}".strip() for row in rows
        ]
        lines.append([heading(figures[order.figure]) + (" (set)" if order.is_set else ""), *cells, order.statement()])
    num = len(results.of(protocol, GROUND_TRUTH))
    others = [order.figure for order in found if order not in judged]
    legend = (
        *([f"only {num} videos: the intervals are too narrow to be relied on"] if num < FEW_VIDEOS else []),
        f"{num} videos, protocol {protocol}; means. {_SIGNS[WORSE]} worse than ground truth, and the 95 % interval of "
        f"the paired difference says so; {_SIGNS[EQUAL]} the same on every video, so the figure does not look at this; "
        f"{_SIGNS[UNCLEAR]} no difference is shown; {_SIGNS[BETTER]} better than ground truth, the wrong way round.",
        "A column of the model tells how far it is from perfect, not a fault of the metric.",
        f"Not measured on ground truth and damage: {', '.join(others) or 'none'}.",
        *unmeasured_lines(results),
    )
    table = Table("Sanity of the metrics", ["figure", *rows, "damage against ground truth"], lines, legend)
    return "\n\n".join([markdown_table(table, 1), markdown_table(_good_table(found, figures), 2)]) + "\n"


def _good_table(found: Sequence[FigureOrder], figures: dict[str, Figure]) -> Table:
    """Whether damaged ground truth stands below the model's undamaged output."""
    lines = []
    for order in found:
        if any(order.against_good.get(row, UNKNOWN) != UNKNOWN for row in DAMAGES):
            cells = [_SIGNS[order.against_good.get(row, UNKNOWN)] or MINUS for row in DAMAGES]
            lines.append([heading(figures[order.figure]), *cells])
    notes = (
        f"{_SIGNS[WORSE]} below the model's output, {_SIGNS[BETTER]} above it, {_SIGNS[UNCLEAR]} neither is shown. A "
        "damaged ground truth rightly beats a model in what the damage does not touch.",
    )
    return Table("Damaged ground truth against the model's output", ["figure", *DAMAGES], lines, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit status."""
    parser = build_parser(__doc__ or "", "python -m eval.sanity")
    parser.add_argument("--protocol", choices=PROTOCOLS, default=RECONSTRUCTION, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options), when_stopped=WHEN_STOPPED)


def _main(options: argparse.Namespace) -> int:
    print(make_table(options), end="")
    return 0


def make_table(options: argparse.Namespace) -> str:
    """Spoils, judges and writes; gives the table."""
    out: Path = options.out
    metrics = choose_metrics(options.metrics)
    listed = limited(read_pair_lists(options.pairs), options.limit)
    device = resolve_device(options.device)
    with report_folder(options) as cache:
        with FaceClips(cache, device, options.detector) as clips:
            pairs = sanity_pairs(listed, options.protocol, clips, out / DAMAGED, options.seed)
        results = run(pairs, metrics, options, cache)
        return _write(results, options.protocol, out)


def _write(results: Results, protocol: str, out: Path) -> str:
    """Writes the table as Markdown and JSON; gives the first."""
    text = sanity_markdown(results, protocol)
    content = json.dumps([{**asdict(one), "says": one.statement()} for one in orders(results, protocol)], indent=1)
    for name, written in (("sanity.md", text), ("sanity.json", content + "\n")):
        with atomic_write(out / name) as beside:
            beside.write_text(written, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main())
