"""Images of a report in its folder `pictures`: one plot per protocol, one contact sheet per listed video."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from eval.pairs import Pair
from eval.results import Results, rankings
from latentsync.errors import LatentSyncError
from latentsync.storage.atomic import atomic_write
from latentsync.storage.content_cache import cache_key

if TYPE_CHECKING:
    from eval.face_clips import FaceClips

logger = logging.getLogger(__name__)

FOLDER = "pictures"

_PLOT_COLUMNS = 3
_JITTER = 0.28
"""Largest vertical offset of the points of a row, so that equal values can be told apart."""

NUM_TILES = 8
TILE_WIDTH, TILE_HEIGHT = 72, 96
"""Aspect ratio of the aligned crop before it is resized to a square."""
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class ReportImages:
    """Image file names relative to the report: plots by protocol, sheets by (protocol, row, name)."""

    plots: dict[str, str]
    sheets: dict[tuple[str, str, str], str]


def draw_images(results: Results, pairs: Sequence[Pair], clips: FaceClips, out: Path) -> ReportImages:
    """Draw the plots, and the contact sheets of the worst and best videos of every ranking."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    plots = {}
    for protocol in results.protocols():
        name = f"{FOLDER}/plot_{protocol}.png"
        if draw_plot(results, protocol, out / name):
            plots[protocol] = name
    ranked = {
        video.identity
        for protocol in results.protocols()
        for ranking in rankings(results, protocol)
        for video in (*ranking.worst, *ranking.best)
    }
    sheets = {}
    chosen = [pair for pair in pairs if pair.identity in ranked]
    names = sheet_names([pair.identity for pair in chosen])
    for pair, name in tqdm(list(zip(chosen, names, strict=True)), disable=None, unit="sheet"):
        if draw_sheet(pair, clips, out / name):
            sheets[pair.identity] = name
    return ReportImages(plots, sheets)


def sheet_names(identities: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return readable file names relative to the report, unique even on case-insensitive file systems."""
    names: list[str] = []
    taken: set[str] = set()
    for identity in identities:
        stem = re.sub(r"[^A-Za-z0-9_.+-]+", "_", "-".join(identity))
        if stem.lower() in taken:
            stem += f"-{cache_key(*identity)[:10]}"
        taken.add(stem.lower())
        names.append(f"{FOLDER}/{stem}.jpg")
    return names


def draw_sheet(pair: Pair, clips: FaceClips, path: Path) -> bool:
    """Write the contact sheet (JPEG) of a pair: crops over time, reference or source above, result below.

    Returns:
        False if there is no face to show.
    """
    try:
        rows = [clip.crops for clip in (clips.of_reference(pair), clips.of_result(pair))]
    except LatentSyncError as error:
        logger.warning("no contact sheet of %s: %s", pair.name, error)
        return False
    length = min(len(row) for row in rows)
    if length == 0:
        return False
    chosen = np.linspace(0, length - 1, min(NUM_TILES, length)).round().astype(int)
    sheet = Image.new("RGB", (TILE_WIDTH * len(chosen), TILE_HEIGHT * len(rows)))
    for row, crops in enumerate(rows):
        for column, frame in enumerate(chosen):
            tile = Image.fromarray(np.ascontiguousarray(crops[frame]))
            tile = tile.resize((TILE_WIDTH, TILE_HEIGHT), Image.Resampling.LANCZOS)
            sheet.paste(tile, (TILE_WIDTH * column, TILE_HEIGHT * row))
    with atomic_write(path) as temporary:
        sheet.save(temporary, "JPEG", quality=_JPEG_QUALITY)
    return True


def draw_plot(results: Results, protocol: str, path: Path) -> bool:
    """Plot the values of all videos with means and intervals, one axes per quantity and one line per row (PNG).

    Returns:
        False if no video of the protocol has a value.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here because it is slow
    from matplotlib.figure import Figure

    rows = results.rows(protocol)
    names = [name for name in results.quantities() if any(results.summary(protocol, row, name) for row in rows)]
    if not names:
        return False
    num_lines = -(-len(names) // _PLOT_COLUMNS)
    height = num_lines * (0.9 + 0.28 * len(rows))
    figure = Figure(figsize=(11, height), dpi=90, layout="constrained")
    grid = figure.subplots(num_lines, _PLOT_COLUMNS, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        _plot_quantity(axes, results, protocol, rows, name)
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    with atomic_write(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
    return True


def _plot_quantity(axes, results: Results, protocol: str, rows: list[str], name: str) -> None:
    quantity = results.quantities()[name]
    rng = np.random.default_rng(0)
    for place, row in enumerate(rows):
        values = [video.values[name] for video in results.of(protocol, row) if name in video.values]
        heights = place + rng.uniform(-_JITTER, _JITTER, len(values))
        axes.plot(values, heights, ".", color="tab:blue", alpha=0.35, markersize=4)
        summary = results.summary(protocol, row, name)
        if summary is not None:
            interval = summary.interval
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [place, place], color="black", linewidth=2)
            axes.plot([interval.mean], [place], "o", color="tab:orange", markeredgecolor="black", markersize=6)
    if quantity.ideal is not None:
        axes.axvline(quantity.ideal, color="tab:green", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    arrow = {True: " (higher is better)", False: " (lower is better)", None: ""}[quantity.higher_is_better]
    axes.set_title(f"{name}{f' [{quantity.unit}]' if quantity.unit else ''}{arrow}", fontsize=9)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
