"""Plot of quality over time: one axes per quantity, with the Pareto front."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed_ladder.document import Results
from benchmarks.speed_ladder.measures import QUANTITIES
from benchmarks.speed_ladder.rows import Row
from benchmarks.speed_ladder.summary import pareto_front
from eval.metrics.metric import Quantity
from eval.results import badness
from latentsync.storage.atomic import atomic_write

_NUM_COLUMNS = 4
_TICKS = (0.1, 0.2, 0.5, 1.0)


def draw(results: Results, path: Path) -> bool:
    """Plot the rows of known quality and time (PNG); return False if there are none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here because it is slow
    from matplotlib.figure import Figure

    rows = [row for row in results.measured() if row.name in results.times]
    if not rows:
        return False
    num_lines = -(-(len(QUANTITIES) + 1) // _NUM_COLUMNS)
    figure = Figure(figsize=(4 * _NUM_COLUMNS, 3.6 * num_lines), dpi=80, layout="constrained")
    grid = figure.subplots(num_lines, _NUM_COLUMNS, squeeze=False).ravel()
    for axes, quantity in zip(grid, QUANTITIES, strict=False):
        _plot_quantity(axes, results, quantity, rows)
    for axes in grid[len(QUANTITIES) :]:
        axes.set_axis_off()
    handles, labels = grid[0].get_legend_handles_labels()
    grid[len(QUANTITIES)].legend(handles, labels, loc="center", fontsize=8, frameon=False)
    with atomic_write(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
    return True


def _plot_quantity(axes: Any, results: Results, quantity: Quantity, rows: Sequence[Row]) -> None:
    values = [results.summaries[row.name].comparisons[quantity.name].value for row in rows]
    times = [results.times[row.name].ratio for row in rows]
    for number, (row, value, time) in enumerate(zip(rows, values, times, strict=True), start=1):
        colour = f"C{(number - 1) % 10}"
        if value.low is not None and value.high is not None:
            axes.plot([time, time], [value.low, value.high], color=colour, linewidth=1, alpha=0.5)
        axes.plot([time], [value.mean], "o", color=colour, markersize=5, label=f"{number}  {row.name}")
        axes.annotate(str(number), (time, value.mean), (4, 3), textcoords="offset points", fontsize=8)
    front = pareto_front([(time, badness(quantity, value.mean)) for time, value in zip(times, values, strict=True)])
    axes.plot([times[i] for i in front], [values[i].mean for i in front], "--", color="black", linewidth=1)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.set_xlabel("time over the first row's", fontsize=8)
    best = {True: "higher is better", False: "lower is better", None: f"best at {quantity.ideal}"}
    unit = f" [{quantity.unit}]" if quantity.unit else ""
    axes.set_title(f"{quantity.name.replace('_', ' ')}{unit} ({best[quantity.higher_is_better]})", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
