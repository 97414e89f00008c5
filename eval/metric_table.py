"""Writes the table of metrics into the documentation: `python -m eval.metric_table [--write docs/evaluation.md]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from eval.metrics.registry import all_metrics
from eval.report.markdown import escaped
from eval.report.tables import heading
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

BEGIN, END = "<!-- metrics: begin (python -m eval.metric_table --write docs/evaluation.md) -->", "<!-- metrics: end -->"


def metric_lines() -> str:
    """A Markdown table: every metric, its figures, the weights it needs, and how published protocols differ."""
    lines = ["| metric | figures | needs | what is published, and where ours differs |", "|---|---|---|---|"]
    for metric in all_metrics().values():
        figures = ", ".join(heading(figure) for figure in metric.figures)
        weights = ", ".join(f"`{path.name}`" for path in metric.weights()) or "nothing"
        what = f"{metric.description[:1].upper()}{metric.description[1:]}. {metric.protocol}"
        lines.append(f"| `{metric.name}` | {escaped(figures)} | {weights} | {escaped(what)} |")
    return "\n".join(lines)


def with_table(text: str, name: str) -> str:
    """The document with the table between its marks as it is now. Raises InputError where the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{name} has no place for the table: write the lines {BEGIN} and {END} into it")
    return f"{before}{BEGIN}\n{metric_lines()}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit status."""
    parser = OneLineParser(prog="python -m eval.metric_table", description=__doc__, allow_abbrev=False)
    parser.add_argument("--write", type=Path, help="the document that has marks for it (default: print the table)")
    document: Path | None = parser.parse_args(arguments).write
    if document is None:
        print(metric_lines())
        return 0
    return run_command(lambda: _write(document))


def _write(document: Path) -> int:
    text = with_table(document.read_text(encoding="utf-8"), str(document))
    with atomic_write(document) as beside:
        beside.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
