"""Check that metrics rank good results above bad ones: damage ground truth in known ways and measure it.

    python -m eval.sanity --pairs pairs.csv --out sanity/

Writes the report of `eval.run` with one row per damage, and a table of the rankings as `sanity.md` and `sanity.json`.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.bootstrap import bootstrap_mean
from eval.damage import DAMAGES, damaged_pairs
from eval.face_clips import FaceClips
from eval.metrics.metric import Quantity, choose_metrics
from eval.pairs import GROUND_TRUTH, MODEL, PROTOCOLS, RECONSTRUCTION, Pair, read_pair_lists
from eval.report.content import FEW_VIDEOS, MINUS, Table, heading, number, unmeasured_lines
from eval.report.markdown import markdown_table
from eval.results import Results, badness, is_ranked, json_record
from eval.run import DAMAGED, WHEN_STOPPED, build_parser, limited, report_folder, run
from latentsync.cli import run_command
from latentsync.device import resolve_device
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

WORSE, EQUAL, UNCLEAR, BETTER, UNKNOWN = "worse", "equal", "unclear", "better", "not measured"
"""How a quantity ranks one row against another; `equal` on every video means that it is insensitive to the damage."""

_SIGNS = {WORSE: "\u2713", EQUAL: "=", UNCLEAR: "?", BETTER: "\u2717", UNKNOWN: ""}


@dataclass(frozen=True)
class QuantityOrder:
    """How one quantity ranks the rows.

    Attributes:
        quantity: its name.
        is_set: True if it belongs to whole rows, so that its verdicts have no intervals.
        means: by row.
        against_truth: verdict on every other row against ground truth.
        against_good: verdict on every damage against the model's results.
    """

    quantity: str
    is_set: bool
    means: dict[str, float]
    against_truth: dict[str, str]
    against_good: dict[str, str]

    def statement(self) -> str:
        """Return in words which damages it ranks below ground truth, and which not."""
        damages = {row: verdict for row, verdict in self.against_truth.items() if row in DAMAGES}
        if not damages or all(verdict == UNKNOWN for verdict in damages.values()):
            return UNKNOWN
        if all(verdict == WORSE for verdict in damages.values()):
            return "orders all"
        labels = {BETTER: "WRONG on", UNCLEAR: "not shown for", EQUAL: "insensitive to", UNKNOWN: "not measured for"}
        parts = []
        for verdict, label in labels.items():
            rows = [row for row, found in damages.items() if found == verdict]
            parts += [f"{label} {', '.join(rows)}"] if rows else []
        return "; ".join(parts)


def sanity_pairs(pairs: Sequence[Pair], protocol: str, clips: FaceClips, folder: Path, seed: int) -> list[Pair]:
    """Return ground truths with a reference, the model's results of the same names, and the damaged ground truths.

    Raises:
        InputError: the list has fewer than two such ground truths, or a file is invalid.
    """
    chosen = [pair for pair in pairs if pair.protocol == protocol]
    truths = [pair for pair in chosen if pair.row == GROUND_TRUTH and pair.reference is not None]
    if len(truths) < 2:
        raise InputError(f"the list has {len(truths)} ground truths of the protocol {protocol}: two are needed")
    names = {pair.name for pair in truths}
    good = [pair for pair in chosen if pair.row == MODEL and pair.name in names]
    return [*truths, *good, *damaged_pairs(truths, clips, folder, seed)]


def orders(results: Results, protocol: str) -> list[QuantityOrder]:
    """Return how every quantity with a better direction ranks the rows."""
    return [
        _order(results, protocol, quantity, metric.is_set)
        for metric in results.metrics
        for quantity in metric.quantities
        if is_ranked(quantity)
    ]


def _order(results: Results, protocol: str, quantity: Quantity, is_set: bool) -> QuantityOrder:
    means = {}
    for row in results.rows(protocol):
        sets = results.set_values(protocol, row)
        value = sets.get(quantity.name) if is_set else _mean(results, protocol, row, quantity)
        if value is not None:
            means[row] = value
    others = [row for row in (MODEL, *DAMAGES) if row in results.rows(protocol)]
    verdicts = {
        upper: {row: _verdict(results, protocol, quantity, is_set, upper, row) for row in others if row != upper}
        for upper in (GROUND_TRUTH, MODEL)
    }
    return QuantityOrder(quantity.name, is_set, means, verdicts[GROUND_TRUTH], verdicts[MODEL])


def _verdict(results: Results, protocol: str, quantity: Quantity, is_set: bool, upper: str, lower: str) -> str:
    """Return the verdict on row `lower` against row `upper`."""
    if is_set:
        best, value = (results.set_values(protocol, row).get(quantity.name) for row in (upper, lower))
        if best is None or value is None:
            return UNKNOWN
        difference = badness(quantity, value) - badness(quantity, best)
        return WORSE if difference > 0 else BETTER if difference < 0 else EQUAL
    uppers = {video.name: video.values.get(quantity.name) for video in results.of(protocol, upper)}
    lowers = {video.name: video.values.get(quantity.name) for video in results.of(protocol, lower)}
    differences = [
        badness(quantity, value) - badness(quantity, best)
        for name, value in lowers.items()
        if value is not None and (best := uppers.get(name)) is not None
    ]
    interval = bootstrap_mean(differences, results.run["seed"])
    if interval is None:
        return UNKNOWN
    if not any(differences):
        return EQUAL
    if interval.low is None or interval.high is None or interval.low <= 0 <= interval.high:
        return UNCLEAR
    return WORSE if interval.low > 0 else BETTER


def _mean(results: Results, protocol: str, row: str, quantity: Quantity) -> float | None:
    summary = results.summary(protocol, row, quantity.name)
    return None if summary is None else summary.interval.mean


def sanity_markdown(results: Results, protocol: str) -> str:
    """Return both tables and their legends as Markdown."""
    found, quantities = orders(results, protocol), results.quantities()
    rows = [row for row in (GROUND_TRUTH, MODEL, *DAMAGES) if row in results.rows(protocol)]
    lines = []
    measured = [order for order in found if order.statement() != UNKNOWN]
    for order in measured:
        cells = [
            f"{number(order.means.get(row))} {_SIGNS[order.against_truth.get(row, UNKNOWN)]}".strip() for row in rows
        ]
        lines.append(
            [heading(quantities[order.quantity]) + (" (set)" if order.is_set else ""), *cells, order.statement()]
        )
    num = len(results.of(protocol, GROUND_TRUTH))
    others = [order.quantity for order in found if order not in measured]
    legend = (
        *([f"only {num} videos: the intervals are too narrow to be relied on"] if num < FEW_VIDEOS else []),
        f"{num} videos, protocol {protocol}; means. {_SIGNS[WORSE]} worse than ground truth, and the 95 % interval of "
        f"the paired difference says so; {_SIGNS[EQUAL]} the same on every video, so it is insensitive to this; "
        f"{_SIGNS[UNCLEAR]} no difference is shown; {_SIGNS[BETTER]} better than ground truth, which is wrong.",
        "The model's column shows how far the model is from perfect, not a fault of the metric.",
        f"Not measured on ground truth and damage: {', '.join(others) or 'none'}.",
        *unmeasured_lines(results),
    )
    table = Table("Sanity of the metrics", ["metric", *rows, "damage against ground truth"], lines, legend)
    return "\n\n".join([markdown_table(table, 1), markdown_table(_good_table(found, quantities), 2)]) + "\n"


def _good_table(found: Sequence[QuantityOrder], quantities: dict[str, Quantity]) -> Table:
    """Return the verdicts on damaged ground truth against the model's undamaged results."""
    lines = []
    for order in found:
        if any(order.against_good.get(row, UNKNOWN) != UNKNOWN for row in DAMAGES):
            cells = [_SIGNS[order.against_good.get(row, UNKNOWN)] or MINUS for row in DAMAGES]
            lines.append([heading(quantities[order.quantity]), *cells])
    notes = (
        f"{_SIGNS[WORSE]} below the model's output, {_SIGNS[BETTER]} above it, {_SIGNS[UNCLEAR]} neither is shown. A "
        "damaged ground truth is rightly better than a model in what the damage does not affect.",
    )
    return Table("Damaged ground truth against the model's output", ["metric", *DAMAGES], lines, notes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser(__doc__ or "", "python -m eval.sanity")
    parser.add_argument("--protocol", choices=PROTOCOLS, default=RECONSTRUCTION, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options), when_stopped=WHEN_STOPPED)


def _main(options: argparse.Namespace) -> int:
    print(make_table(options), end="")
    return 0


def make_table(options: argparse.Namespace) -> str:
    """Damage the ground truths, evaluate, write the report, and return the table."""
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
    """Write the table as Markdown and JSON, and return the Markdown."""
    text = sanity_markdown(results, protocol)
    content = json.dumps([{**json_record(one), "says": one.statement()} for one in orders(results, protocol)], indent=1)
    for name, written in (("sanity.md", text), ("sanity.json", content + "\n")):
        with atomic_write(out / name) as temporary:
            temporary.write_text(written, encoding="utf-8")
    return text


if __name__ == "__main__":
    sys.exit(main())
