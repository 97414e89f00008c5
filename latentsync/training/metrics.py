"""Metrics of a run: means over steps and processes, rows of metrics.jsonl and TensorBoard, and charts."""

import json
import logging
import math
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from latentsync.storage.atomic import atomic_write

logger = logging.getLogger(__name__)

Row = dict[str, Any]
FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Rows {"step": int, "split": "train" or "validation", metric: number or null, ...} in order of time.

    Args:
        run_dir: folder for metrics.jsonl and tensorboard/.
        rows: earlier rows of the run; they replace the file, so that rows after a resumed step disappear.
    """

    def __init__(self, run_dir: Path, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self.path = run_dir / FILE_NAME
        write_rows(self.path, self.rows)
        purge_step = self.rows[-1]["step"] + 1 if self.rows else 0
        self._board = TensorBoardFile(run_dir / "tensorboard", purge_step)

    def write(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """Add a row; numbers that are not finite become null."""
        row: Row = {"step": step, "split": split}
        row |= {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._board.write(step, {f"{name}/{split}": float(value) for name, value in metrics.items()})


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows atomically."""
    with atomic_write(path) as beside:
        beside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if it is missing.

    An incomplete last line, as a crash leaves it, is skipped. Damaged lines are skipped with one warning.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    rows = [_row(line) for line in lines[:-1] if line]
    num_damaged = sum(row is None for row in rows)
    if num_damaged:
        logger.warning("%s: %d damaged lines of metrics are skipped", path, num_damaged)
    return [row for row in rows if row is not None]


def _row(line: bytes) -> Row | None:
    """Return the row of a line, or None if the line is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or not isinstance(row.get("split"), str):
        return None
    numbers = (value for name, value in row.items() if name != "split")
    return row if all(value is None or type(value) in (int, float) for value in numbers) else None


def history(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Return columns "<split>_step" and "<split>_<metric>", equally long per split; NaN for missing values."""
    columns: dict[str, list[float]] = {}
    for split in dict.fromkeys(row["split"] for row in rows):
        own = [row for row in rows if row["split"] == split]
        names = dict.fromkeys(name for row in own for name in row if name != "split")
        for name in names:
            values = (row.get(name) for row in own)
            columns[f"{split}_{name}"] = [math.nan if value is None else value for value in values]
    return columns


class MetricWindow:
    """Means of metrics since the last row; sums stay on the device, so adding a value does not synchronize with it."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, torch.Tensor | float]) -> None:
        """Add the scalars of one batch."""
        for name, value in metrics.items():
            value = value.detach().float() if isinstance(value, torch.Tensor) else float(value)
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means since the last call, over all processes; every process calls this."""
        own = [{name: (float(total), self._counts[name]) for name, total in self._sums.items()}]
        self._sums, self._counts = {}, {}
        gathered: list[dict[str, tuple[float, int]]] = gather_object(own)
        names = dict.fromkeys(name for part in gathered for name in part)
        totals = {name: [part[name] for part in gathered if name in part] for name in names}
        return {name: sum(t for t, _ in parts) / sum(n for _, n in parts) for name, parts in totals.items()}


class TensorBoardFile:
    """Event file for `tensorboard --logdir`, written in the calling thread.

    It is a second copy of the metrics, so a run continues if it cannot be written. torch's SummaryWriter writes in a
    thread of its own, which ends with a traceback if the disk fails.

    Args:
        folder: folder of the new file; created if missing.
        purge_step: TensorBoard hides rows of earlier files from this step on.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2  # slow to import, and only one process needs them

        # The classes are created at run time; type checkers do not know them.
        self._event: Any = vars(event_pb2)["Event"]
        self._summary: Any = vars(summary_pb2)["Summary"]
        log: Any = vars(event_pb2)["SessionLog"]
        place = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        self.path = folder / f"events.out.tfevents.{int(time.time()):010d}.{place}"
        self._is_intact = True
        self._write(step=purge_step, file_version="brain.Event:2")
        self._write(step=purge_step, session_log=log(status=log.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add one row; after a write error the rest is skipped with one warning."""
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(step=step, summary=self._summary(value=values))

    def _write(self, **content: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        if not self._is_intact:  # TensorBoard stops reading at an incomplete record
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                RecordWriter(file).write(self._event(wall_time=time.time(), **content).SerializeToString())
        except OSError as error:
            self._is_intact = False
            logger.warning("%s cannot be written (%s): TensorBoard lacks the rest", self.path, error.strerror or error)


COLOURS = {"train": "tab:blue", "validation": "tab:orange"}
_NOT_DRAWN = ("step", "split", "seconds")
_SMOOTHING = 0.9
_MIN_ROWS_TO_SMOOTH = 50


def draw_charts(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw each metric of the rows into `<folder>/<metric>.png`; return the files."""
    names = dict.fromkeys(name for row in rows for name in row if name not in _NOT_DRAWN)
    folder.mkdir(parents=True, exist_ok=True)
    return [draw_chart(name, rows, folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.png") for name in names]


def draw_chart(name: str, rows: Sequence[Row], path: Path) -> Path:
    """Draw one metric over the steps; from 50 rows on a smoothed line is drawn over a faint one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only one process needs it
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100)
    axes = figure.add_axes((0.09, 0.11, 0.88, 0.81))
    for split, colour in COLOURS.items():
        points = [(row["step"], row[name]) for row in rows if row["split"] == split and row.get(name) is not None]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        if len(points) >= _MIN_ROWS_TO_SMOOTH:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            values = smoothed(values)
        axes.plot(steps, values, color=colour, label=split, marker="o" if len(points) < _MIN_ROWS_TO_SMOOTH else None)
    axes.set_title(name)
    axes.set_xlabel("optimizer step")
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic_write(path) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))
    return path


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the exponential moving average with bias correction."""
    average, weight, result = 0.0, 0.0, []
    for value in values:
        average = _SMOOTHING * average + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        result.append(average / weight)
    return result
