"""Metrics of a run: a JSON line per row, and the same to TensorBoard."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentsync.storage.atomic import atomic_write
from latentsync.training.tensorboard_file import TensorBoardFile

logger = logging.getLogger(__name__)

Row = dict[str, Any]
FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Rows {"step": int, "split": "train" or "validation", metric: number or null, ...} in the order they came.

    Args:
        run_dir: gets metrics.jsonl and tensorboard/.
        rows: of the run's past; they replace whatever the file says, so that rows beyond a resumed step are gone.
    """

    def __init__(self, run_dir: Path, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self.path = run_dir / FILE_NAME
        write_rows(self.path, self.rows)
        purge_step = self.rows[-1]["step"] + 1 if self.rows else 0
        self._board = TensorBoardFile(run_dir / "tensorboard", purge_step)

    def write(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a row; numbers that are not finite become null."""
        row: Row = {"step": step, "split": split}
        row |= {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._board.write(step, {f"{name}/{split}": float(value) for name, value in metrics.items()})


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Writes all rows; the file appears whole."""
    with atomic_write(path) as beside:
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file.

    A last line that was cut off by a crash is left out; so are damaged lines, and one warning counts them.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = [_row(line) for line in lines[:-1] if line]
    num_damaged = sum(row is None for row in rows)
    if num_damaged:
        logger.warning("%s: %d damaged lines of metrics are left out", path, num_damaged)
    return [row for row in rows if row is not None]


def _row(line: bytes) -> Row | None:
    """The row of a line; None where it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or not isinstance(row.get("split"), str):
        return None
    numbers = (value for name, value in row.items() if name != "split")
    return row if all(value is None or type(value) in (int, float) for value in numbers) else None


def history(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Columns of the rows: "<split>_step" and "<split>_<metric>", equally long per split; NaN where a row has none."""
    columns: dict[str, list[float]] = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        own = [row for row in rows if row["split"] == split]
        names = dict.fromkeys(name for row in own for name in row if name != "split")
        for name in names:
            values = (row.get(name) for row in own)
            columns[f"{split}_{name}"] = [math.nan if value is None else value for value in values]
    return columns
