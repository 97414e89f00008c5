"""Write curves and tables of benchmarks/syncnet_convergence.py into docs/syncnet_convergence.md between its marks."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.errors import InputError
from latentsync.storage.atomic import atomic_write
from latentsync.training.syncnet_step import CHANCE_LOSS
from latentsync.weights import REPOSITORY_ROOT

DOCUMENT = REPOSITORY_ROOT / "docs" / "syncnet_convergence.md"
FOLDER = REPOSITORY_ROOT / "docs" / "syncnet_convergence"
GROUPS = {
    "pairs": ["published pairs", "published pairs, seed 1", "4 windows a clip", "4 windows, seed 1"],
    "longer": ["published pairs", "published pairs, four times longer"],
    "batch_published": ["published pairs, batch 16", "published pairs", "published pairs, batch 256"],
    "batch": ["4 windows, batch 16", "4 windows a clip", "4 windows, batch 256"],
    "rate_published": [
        "published pairs, rate 3e-5",
        "published pairs, rate 1e-4",
        "published pairs",
        "published pairs, rate 1e-3",
        "published pairs, no warm-up",
    ],
    "rate": ["4 windows a clip", "4 windows, rate 5e-3", "4 windows, rate 5e-3, no warm-up"],
    "frames": ["4 windows, 5 frames", "4 windows a clip", "4 windows, 25 frames"],
    "width": ["4 windows, width 32", "4 windows a clip", "4 windows, width 512"],
    "attention": ["4 windows a clip", "4 windows, attention"],
    "alignment": ["4 windows, 60 aligned clips", "4 windows, 60 clips of a fixed box"],
    "offset": ["4 windows a clip", "4 windows, sound 6 frames late"],
    "start": [
        "published pairs",
        "published pairs, contrastive",
        "4 windows a clip",
        "4 windows, contrastive",
        "4 windows, Muon",
        "4 windows, contrastive, Muon",
    ],
}
"""Figures of the document: names of the runs that each one shows."""
_LEFT_CHANCE = CHANCE_LOSS - 0.02
_SMOOTHING = 5
_HEADER = (
    "| run | windows a step | steps | left chance after (windows) | training loss at the end | held-out loss "
    "| accuracy at 0.5 | best accuracy | at threshold | area under curve | offset found (median) |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|\n"
)

Result = dict[str, Any]


def write_document(out: Path, order: Sequence[str]) -> None:
    """Plot the curves of all finished runs in `out` and write their tables into the document.

    Raises:
        InputError: no run is finished.
    """
    results = {
        result["name"]: result for path in out.glob("*/result.json") for result in [json.loads(path.read_text())]
    }
    if not results:
        raise InputError(f"no finished run in {out}: run `python -m benchmarks.syncnet_convergence run` first")
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = DOCUMENT.read_text(encoding="utf-8")
    for group, names in GROUPS.items():
        present = [results[name] for name in names if name in results]
        if present:
            draw(present, FOLDER / f"{group}.png")
            text = replaced(text, group, _HEADER + "".join(table_row(result) for result in present))
    with atomic_write(DOCUMENT) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic_write(FOLDER / "curves.json") as temporary:
        temporary.write_text(json.dumps({name: curves(results[name]) for name in order if name in results}) + "\n")


def replaced(text: str, group: str, table: str) -> str:
    """Return the text with the table between `<!-- table: GROUP -->` and the next `<!-- end -->`."""
    start = f"<!-- table: {group} -->"
    if start not in text:
        return text
    return re.sub(rf"{re.escape(start)}\n.*?<!-- end -->", lambda _: f"{start}\n{table}<!-- end -->", text, flags=re.S)


def curves(result: Result) -> dict[str, Any]:
    """Return the points of a run's curves: processed windows, smoothed training loss, and the held-out values."""
    train = [row for row in result["rows"] if row["split"] == "train"]
    held_out = [row for row in result["rows"] if row["split"] == "validation"]
    per_step = result["windows_per_step"]
    return {
        "overrides": result["overrides"],
        "clips": result["clips"],
        "windows": [row["step"] * per_step for row in train],
        "sync_loss": [round(value, 4) for value in smoothed([row["sync_loss"] for row in train])],
        "held_out_windows": [row["step"] * per_step for row in held_out],
        "held_out_sync_loss": [round(row["sync_loss"], 4) for row in held_out],
        "held_out_best_accuracy": [round(row["best_accuracy"], 4) for row in held_out],
    }


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the moving average of each value and the previous ones."""
    return [float(np.mean(values[max(0, end - _SMOOTHING) : end])) for end in range(1, len(values) + 1)]


def table_row(result: Result) -> str:
    """Return a row of the table; accuracies are those on clean held-out clips."""
    one, clean = curves(result), result["clean"]
    below = [windows for windows, loss in zip(one["windows"], one["sync_loss"], strict=True) if loss < _LEFT_CHANCE]
    cells = [
        result["name"],
        str(result["windows_per_step"]),
        str(result["rows"][-1]["step"]),
        f"{below[0]:,}" if below else "never",
        f"{one['sync_loss'][-1]:.3f}",
        f"{clean['sync_loss']:.3f}",
        *(f"{100 * clean[name]:.1f} %" for name in ("accuracy", "best_accuracy")),
        f"{clean['best_threshold']:.2f}",
        f"{clean['area_under_curve']:.3f}",
        f"{round(float(np.median(clean['offsets']))):+d}",
    ]
    return "| " + " | ".join(cells) + " |\n"


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot training loss and best held-out accuracy over the processed windows, one line per run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here because it is slow
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), dpi=80, layout="constrained")
    left, right = figure.subplots(1, 2)
    for result in results:
        one = curves(result)
        left.plot(one["windows"], one["sync_loss"], label=result["name"])
        right.plot(one["held_out_windows"], one["held_out_best_accuracy"], marker="o", label=result["name"])
    left.axhline(CHANCE_LOSS, color="grey", linestyle="--", linewidth=0.8)
    left.set_title("training loss (dashed: chance)")
    right.set_title("held-out accuracy at the best threshold")
    for axes in (left, right):
        axes.set_xlabel("windows processed")
        axes.grid(alpha=0.3)
    right.legend(fontsize="small")
    with atomic_write(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
