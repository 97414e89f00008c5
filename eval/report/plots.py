"""One picture a protocol: for each figure the values of all videos, row by row, with means and intervals."""

from pathlib import Path

import numpy as np

from eval.results import Results
from latentsync.storage.atomic import atomic_write

_COLUMNS = 3
_SPREAD = 0.28
"""Height over which the dots of a row are strewn, so that equal ones can be told apart."""


def draw_protocol(results: Results, protocol: str, path: Path) -> bool:
    """Draws the figures that some video of the protocol has (PNG, whole); gives False where there is none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: slow to import, and only a report needs it
    from matplotlib.figure import Figure as Picture

    rows = results.rows(protocol)
    names = [name for name in results.figures() if any(results.summary(protocol, row, name) for row in rows)]
    if not names:
        return False
    num_lines = -(-len(names) // _COLUMNS)
    height = num_lines * (0.9 + 0.28 * len(rows))
    picture = Picture(figsize=(11, height), dpi=90, layout="constrained")
    grid = picture.subplots(num_lines, _COLUMNS, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        _draw_figure(axes, results, protocol, rows, name)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    with atomic_write(path) as beside:
        FigureCanvasAgg(picture).print_png(str(beside))
    return True


def _draw_figure(axes, results: Results, protocol: str, rows: list[str], name: str) -> None:
    figure = results.figures()[name]
    rng = np.random.default_rng(0)
    for place, row in enumerate(rows):
        values = [video.values[name] for video in results.of(protocol, row) if name in video.values]
        heights = place + rng.uniform(-_SPREAD, _SPREAD, len(values))
        axes.plot(values, heights, ".", color="tab:blue", alpha=0.35, markersize=4)
        summary = results.summary(protocol, row, name)
        if summary is not None:
            interval = summary.interval
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [place, place], color="black", linewidth=2)
            axes.plot([interval.mean], [place], "o", color="tab:orange", markeredgecolor="black", markersize=6)
    if figure.ideal is not None:
        axes.axvline(figure.ideal, color="tab:green", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    arrow = {True: " (higher is better)", False: " (lower is better)", None: ""}[figure.higher_is_better]
    axes.set_title(f"{name}{f' [{figure.unit}]' if figure.unit else ''}{arrow}", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
