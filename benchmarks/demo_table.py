"""Compare the values of several evaluations, such as of trainings with and without one loss, three seeds each.

    python -m benchmarks.demo_table "with sync=runs/a0,runs/a1,runs/a2" "without=runs/b0,runs/b1,runs/b2"

Every folder is an output of ``python -m eval.demo_weights``. Prints a Markdown table with one row per name: mean and
standard deviation (n - 1) over its folders.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser

DEFAULT_QUANTITIES = (
    "dubs.opening",
    "dubs.opening_worst",
    "dubs.width",
    "dubs.sync_ratio",
    "dubs.flicker_ratio",
    "dubs.mouth_psnr_db",
    "dubs.vae_distance",
    "dubs.own_mouth_psnr_db",
    "dubs.own_vae_distance",
)


@dataclass(frozen=True)
class Row:
    """One row of the table: a name, and the folders whose mean it shows."""

    name: str
    folders: tuple[Path, ...]


def parse_row(text: str) -> Row:
    """Parse ``NAME=FOLDER[,FOLDER...]``; raise ValueError for other text."""
    name, separator, folders = text.rpartition("=")
    if not separator or not name or not all(folders.split(",")):
        raise ValueError(f"{text!r} is not NAME=FOLDER[,FOLDER...]")
    return Row(name, tuple(Path(folder) for folder in folders.split(",")))


def read_value(folder: Path, quantity: str) -> float:
    """Return the value ``group.name`` of an evaluation; raise KeyError if it was not measured."""
    group, name = quantity.split(".", 1)
    return float(json.loads((folder / "figures.json").read_text(encoding="utf-8"))[group]["figures"][name])


def spread(values: Sequence[float]) -> str:
    """Format the mean and, for several values, the standard deviation."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def table(rows: Sequence[Row], quantities: Sequence[str]) -> str:
    """Return the Markdown table."""
    names = [quantity.split(".", 1)[1].replace("_", " ") for quantity in quantities]
    lines = [f"| | {' | '.join(names)} | runs |", "|" + "---|" * (len(quantities) + 2)]
    for row in rows:
        cells = [spread([read_value(folder, quantity) for folder in row.folders]) for quantity in quantities]
        lines.append(f"| {row.name} | {' | '.join(cells)} | {len(row.folders)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", type=parse_row, metavar="NAME=FOLDER[,FOLDER...]")
    parser.add_argument("--figures", nargs="+", default=DEFAULT_QUANTITIES, metavar="GROUP.NAME")
    arguments = parser.parse_args()
    print(table(arguments.rows, arguments.figures))


if __name__ == "__main__":
    main()
