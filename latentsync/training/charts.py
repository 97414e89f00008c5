"""Pictures of a run's metrics: one PNG per metric, training and validation together."""

import re
from collections.abc import Sequence
from pathlib import Path

from latentsync.storage.atomic import atomic_write
from latentsync.training.metrics_log import Row

COLOURS = {"train": "tab:blue", "validation": "tab:orange"}
_NOT_DRAWN = ("step", "split", "seconds")
_SMOOTHING = 0.9
_MIN_ROWS_TO_SMOOTH = 50


def draw_charts(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draws the metrics of the rows into `<folder>/<metric>.png` and returns the files."""
    names = dict.fromkeys(name for row in rows for name in row if name not in _NOT_DRAWN)
    folder.mkdir(parents=True, exist_ok=True)
    return [draw_chart(name, rows, folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}.png") for name in names]


def draw_chart(name: str, rows: Sequence[Row], path: Path) -> Path:
    """Draws one metric over the steps; many training rows get a smoothed line over a faint one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: slow to import, and only one process needs it
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
    """Exponential moving average, corrected for its start."""
    average, weight, result = 0.0, 0.0, []
    for value in values:
        average = _SMOOTHING * average + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        result.append(average / weight)
    return result
