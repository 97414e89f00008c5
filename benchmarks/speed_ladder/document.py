"""The ladder as Markdown tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.speed_ladder.measures import QUANTITIES
from benchmarks.speed_ladder.rows import Row
from benchmarks.speed_ladder.stages import STAGES
from benchmarks.speed_ladder.summary import BETTER, WORSE, RowSummary
from benchmarks.speed_ladder.times import RowTime
from benchmarks.speed_ladder.whole import WholeTime
from eval.bootstrap import Interval
from eval.metrics.metric import Quantity

_MARKS = {BETTER: " +", WORSE: " **−**"}
_NAMES = [quantity.name.replace("_", " ") for quantity in QUANTITIES]


@dataclass(frozen=True)
class Results:
    """What is known about the rows.

    Attributes:
        description: a sentence that names weights, device and amount.
        rows: in the order of the tables; the first is the reference.
        summaries, times, wholes: by the row's name, as far as measured.
    """

    description: str
    rows: Sequence[Row]
    summaries: Mapping[str, RowSummary]
    times: Mapping[str, RowTime]
    wholes: Mapping[str, WholeTime]

    def measured(self) -> list[Row]:
        """Return the rows of known quality."""
        return [row for row in self.rows if row.name in self.summaries]


def to_json(results: Results) -> dict[str, Any]:
    """Return all numbers as plain values."""
    content: dict[str, Any] = {}
    for row in results.rows:
        summary, time = results.summaries.get(row.name), results.times.get(row.name)
        whole = results.wholes.get(row.name)
        content[row.name] = {
            "arguments": list(row.arguments),
            "summary": None if summary is None else asdict(summary) | {"worse": summary.worse, "apart": summary.apart},
            "time": None if time is None else asdict(time) | {"ratio": time.ratio},
            "whole": None if whole is None else asdict(whole),
        }
    return {"description": results.description, "rows": content}


def to_markdown(results: Results) -> str:
    """Return the tables, each with a line above that explains it."""
    parts = [results.description, _legend(), _mean_table(results), _difference_table(results)]
    parts += [_interval_table(results), _time_table(results)]
    if results.wholes:
        parts.append(_whole_table(results))
    return "\n\n".join([*parts, _arguments_table(results)]) + "\n"


def _legend() -> str:
    lines = []
    for name, quantity in zip(_NAMES, QUANTITIES, strict=True):
        best = {True: "higher is better", False: "lower is better", None: f"best at {quantity.ideal}"}
        lines.append(f"* {name}: {quantity.description}; {best[quantity.higher_is_better]}")
    return "\n".join(lines)


def _mean_table(results: Results) -> str:
    header = ["row", "evaluations", "time", *_NAMES, "no worse", "dubs, results"]
    lines = []
    for row in results.measured():
        summary, time = results.summaries[row.name], results.times.get(row.name)
        cells = [row.name, *(["", ""] if time is None else [f"{time.num_evaluations:g}", f"{time.ratio:.2f}"])]
        for quantity in QUANTITIES:
            one = summary.comparisons[quantity.name]
            cells.append(f"{one.value.mean:{_form(quantity)}}{_MARKS.get(one.verdict, '')}")
        lines.append([*cells, _yes_but(summary.worse), f"{summary.num_dubs}, {summary.num_results}"])
    title = (
        "U-Net evaluations per window, processor time over the first row's, and means over dubs and seeds. + or − "
        "behind a mean: the interval of the paired difference to the first row lies wholly on the better or worse side."
    )
    return f"{title}\n\n{_table(header, lines)}"


def _interval_table(results: Results) -> str:
    lines = []
    for row in results.measured():
        summary = results.summaries[row.name]
        cells = [_interval(quantity, summary.comparisons[quantity.name].value) for quantity in QUANTITIES]
        lines.append([row.name, *cells, _yes_but(summary.apart)])
    title = "Intervals of the means, and whether they overlap those of the first row or lie on the better side:"
    return f"{title}\n\n{_table(['row', *_NAMES, 'overlap'], lines)}"


def _difference_table(results: Results) -> str:
    lines = []
    for row in results.measured()[1:]:
        summary = results.summaries[row.name]
        cells = [row.name]
        for quantity in QUANTITIES:
            one = summary.comparisons[quantity.name]
            cells.append(_interval(quantity, _difference(quantity, one.worsening), "+") + _MARKS.get(one.verdict, ""))
        lines.append([*cells, _yes_but(summary.worse)])
    return (
        "Paired differences to the first row (of flicker: of the distance from 1), and their intervals:\n\n"
        + _table(["row", *_NAMES, "no worse"], lines)
    )


def _time_table(results: Results) -> str:
    lines = []
    for row in results.rows:
        time = results.times.get(row.name)
        if time is not None:
            cells = [f"{time.seconds[stage] / time.reference_s:.3f}" for stage in STAGES]
            lines.append([row.name, f"{time.num_evaluations:g}", *cells, f"{time.ratio:.3f}"])
    header = ["row", "evaluations", *STAGES, "together"]
    return (
        f"U-Net evaluations per window, and time by stage over the first row's whole time:\n\n{_table(header, lines)}"
    )


def _whole_table(results: Results) -> str:
    known = [(row.name, results.wholes[row.name]) for row in results.rows if row.name in results.wholes]
    lines = [[name, f"{whole.wall_s:.1f}", f"{whole.processor_s:.1f}"] for name, whole in known]
    return "The whole command on the bundled demo:\n\n" + _table(["row", "seconds", "processor seconds"], lines)


def _arguments_table(results: Results) -> str:
    lines = [[row.name, f"`{' '.join(row.arguments)}`"] for row in results.rows]
    return "Arguments of `./inference.sh`:\n\n" + _table(["row", "arguments"], lines)


def _difference(quantity: Quantity, worsening: Interval) -> Interval:
    """Return the difference of the values themselves, which has the other sign if higher is better."""
    if not quantity.higher_is_better:
        return worsening
    low, high = worsening.low, worsening.high
    return Interval(-worsening.mean, None if high is None else -high, None if low is None else -low, worsening.num)


def _interval(quantity: Quantity, interval: Interval, sign: str = "") -> str:
    form = sign + _form(quantity)
    mean = f"{interval.mean:{form}}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{interval.low:{form}}, {interval.high:{form}}]"


def _form(quantity: Quantity) -> str:
    return ".2f" if quantity.unit == "dB" else ".3f"


def _yes_but(names: Sequence[str]) -> str:
    return f"all but {', '.join(name.replace('_', ' ') for name in names)}" if names else "yes"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
