"""The report's plots, drawn by matplotlib into PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.storage.atomic import atomic_write
from preprocess.report.histogram import Histogram
from preprocess.report.numbers import Quantity, StepNumbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT, REJECTED, FAILED = "#3b7dd8", "#e08a2c", "#b3261e"
_MOST_BARS = 120
"""Bins are joined until there are no more than so many."""
_EDGE_SHARE = 0.002
"""The rarest values at either end that fall outside of the picture (they are counted in its last bars)."""


def draw_funnel(steps: Sequence[StepNumbers], path: Path) -> Path:
    """Draws for every step the clips it kept, rejected and failed on, as a stacked bar."""
    from matplotlib.figure import Figure  # here: slow to import
    from matplotlib.ticker import MaxNLocator

    steps = [step for step in steps if not step.skipped]
    figure = Figure(figsize=(8, 1.2 + 0.42 * len(steps)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    labels = [step.title for step in steps]
    left = [0] * len(steps)
    counts = {
        ("kept", KEPT): [step.num_kept for step in steps],
        ("rejected", REJECTED): [step.num_rejected for step in steps],
        ("failed", FAILED): [step.num_failed for step in steps],
    }
    for (label, colour), widths in counts.items():
        axes.barh(labels, widths, left=left, color=colour, label=label)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 1.03 * max(1, *left))
    axes.set_xlabel("clips that reached the step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return _write(figure, path)


def draw_distribution(quantity: Quantity, kept: Histogram, rejected: Histogram, path: Path) -> Path:
    """Draws how a measured fact is spread over the clips that the step kept and rejected."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    first, last = _shown_bins(kept, rejected)
    joined = -(-(last - first + 1) // _MOST_BARS)
    starts = range(first, last + 1, joined)
    centres = [(start + (joined - 1) / 2) * quantity.bin_width for start in starts]
    bottom = [0] * len(centres)
    for label, colour, histogram in (("kept", KEPT, kept), ("rejected", REJECTED, rejected)):
        heights = [0] * len(centres)
        for index, count in histogram.bins.items():
            heights[(min(max(index, first), last) - first) // joined] += count
        axes.bar(centres, heights, width=0.92 * joined * quantity.bin_width, bottom=bottom, color=colour, label=label)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_xlabel(quantity.title)
    axes.set_ylabel("clips")
    axes.set_ylim(0, 1.08 * max(1, *bottom))
    if quantity.bin_width >= 1:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return _write(figure, path)


def _shown_bins(kept: Histogram, rejected: Histogram) -> tuple[int, int]:
    """First and last bin to draw; the few values far out would make everything else a thin line."""
    both = kept.bins + rejected.bins
    num_values = sum(both.values())
    ends = []
    for indices in (sorted(both), sorted(both, reverse=True)):
        seen = 0
        for index in indices:
            seen += both[index]
            if seen > _EDGE_SHARE * num_values:
                ends.append(index)
                break
    return (ends[0], ends[1]) if ends else (0, 0)


def _write(figure: "Figure", path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        FigureCanvasAgg(figure).print_png(str(beside))
    return path
