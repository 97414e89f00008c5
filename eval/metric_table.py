"""Write the table of metrics into the documentation: `python -m eval.metric_table [--write docs/evaluation.md]`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from eval.metrics.metric import all_metrics
from eval.report.content import heading
from eval.report.markdown import escaped
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write

BEGIN, END = "<!-- metrics: begin (python -m eval.metric_table --write docs/evaluation.md) -->", "<!-- metrics: end -->"


def metric_lines() -> str:
    """Return a Markdown table of all metrics: values, weight files, published protocols and our deviations."""
    lines = ["| metric | values | needs | what is published, and where ours differs |", "|---|---|---|---|"]
    for metric in all_metrics().values():
        quantities = ", ".join(heading(quantity) for quantity in metric.quantities)
        weights = ", ".join(f"`{path.name}`" for path in metric.weights()) or "nothing"
        what = f"{metric.description[:1].upper()}{metric.description[1:]}. {metric.protocol}"
        lines.append(f"| `{metric.name}` | {escaped(quantities)} | {weights} | {escaped(what)} |")
    return "\n".join(lines)


def with_table(text: str, name: str) -> str:
    """Return the document with the table between its marks replaced; raise InputError if the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{name} has no place for the table: write the lines {BEGIN} and {END} into it")
    return f"{before}{BEGIN}\n{metric_lines()}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(prog="python -m eval.metric_table", description=__doc__, allow_abbrev=False)
    parser.add_argument("--write", type=Path, help="document with marks for the table (default: print the table)")
    document: Path | None = parser.parse_args(arguments).write
    if document is None:
        print(metric_lines())
        return 0
    return run_command(lambda: _write(document))


def _write(document: Path) -> int:
    text = with_table(document.read_text(encoding="utf-8"), str(document))
    with atomic_write(document) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
