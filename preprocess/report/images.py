"""Images of the report: plots of the statistics, and contact sheets with frames of example clips."""

import logging
import threading
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from latentsync.errors import LatentSyncError
from latentsync.media.probe import VideoInfo, probe_video
from latentsync.media.reader import VideoReader
from latentsync.storage.atomic import atomic_write
from preprocess.report.statistics import Example, Histogram, Metric, StepStatistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

KEPT, REJECTED, FAILED = "#3b7dd8", "#e08a2c", "#b3261e"
_MAX_BARS = 120
"""Histogram bins are joined until no more bars are left."""
_OUTLIER_SHARE = 0.002
"""Share of values at either end that lie outside the plot; they are counted in its first and last bar."""

NUM_FRAMES = 4
TILE = 160
"""Side of a tile in pixels."""
_GAP = 2
_LABEL = 16
"""Width in pixels of the column with the row numbers."""
_GREY = (128, 128, 128)
_MAX_DECODED_S = 60.0
"""Longer videos are not decoded completely; each frame is sought."""
_TIMEOUT_S = 30.0
"""Time limit for decoding the frames of one clip."""


def draw_funnel(steps: Sequence[StepStatistics], path: Path) -> Path:
    """Write a bar chart of kept, rejected and failed clips of every step; return its path."""
    from matplotlib.figure import Figure  # imported here, because it is slow
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


def draw_distribution(metric: Metric, kept: Histogram, rejected: Histogram, path: Path) -> Path:
    """Write a histogram of a metric of kept and rejected clips; return its path."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    first, last = _plotted_bins(kept, rejected)
    joined = -(-(last - first + 1) // _MAX_BARS)
    starts = range(first, last + 1, joined)
    centres = [(start + (joined - 1) / 2) * metric.bin_width for start in starts]
    bottom = [0] * len(centres)
    for label, colour, histogram in (("kept", KEPT, kept), ("rejected", REJECTED, rejected)):
        heights = [0] * len(centres)
        for index, count in histogram.bins.items():
            heights[(min(max(index, first), last) - first) // joined] += count
        axes.bar(centres, heights, width=0.92 * joined * metric.bin_width, bottom=bottom, color=colour, label=label)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_xlabel(metric.title)
    axes.set_ylabel("clips")
    axes.set_ylim(0, 1.08 * max(1, *bottom))
    if metric.bin_width >= 1:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return _write(figure, path)


def _plotted_bins(kept: Histogram, rejected: Histogram) -> tuple[int, int]:
    """Return the first and last plotted bin; without outliers, which would compress all other bars."""
    both = kept.bins + rejected.bins
    num_values = sum(both.values())
    ends = []
    for indices in (sorted(both), sorted(both, reverse=True)):
        num_outside = 0
        for index in indices:
            num_outside += both[index]
            if num_outside > _OUTLIER_SHARE * num_values:
                ends.append(index)
                break
    return (ends[0], ends[1]) if ends else (0, 0)


def _write(figure: "Figure", path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))
    return path


def draw_sheet(examples: Sequence[Example], path: Path) -> Path:
    """Write a contact sheet with one numbered row of `NUM_FRAMES` frames per example; return its path."""
    width = _LABEL + NUM_FRAMES * (TILE + _GAP)
    sheet = Image.new("RGB", (width, len(examples) * (TILE + _GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, example in enumerate(examples):
        top = row * (TILE + _GAP)
        pen.text((2, top + 2), str(row + 1), fill="black")
        for column, tile in enumerate(clip_tiles(example.path)):
            sheet.paste(tile, (_LABEL + column * (TILE + _GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        sheet.save(temporary, "PNG")
    return path


def clip_tiles(path: Path) -> list[Image.Image]:
    """Return evenly spaced frames of a clip as square tiles, or one grey tile if they cannot be decoded."""
    if not path.is_file():
        return [grey_tile("the file is\nmissing")]
    try:
        frames = _sample_frames(probe_video(path))
    except (LatentSyncError, OSError, ValueError) as error:  # ValueError: the name is no valid file name
        logger.info("no frames of %s: %s", path, error)
        frames = []
    if not frames:
        return [grey_tile("cannot be\ndecoded")]
    return [ImageOps.pad(Image.fromarray(frame), (TILE, TILE), Image.Resampling.LANCZOS) for frame in frames]


def grey_tile(text: str) -> Image.Image:
    """Return a grey tile with a text."""
    tile = Image.new("RGB", (TILE, TILE), _GREY)
    ImageDraw.Draw(tile).multiline_text(
        (TILE // 2, TILE // 2), text, fill="white", anchor="mm", align="center", font_size=16
    )
    return tile


def _sample_frames(info: VideoInfo) -> list[np.ndarray]:
    """Return up to `NUM_FRAMES` frames (h, w, 3) from the middles of equal parts of the video."""
    scale = min(1.0, 2 * TILE / max(info.width, info.height))
    size = (max(2, round(info.width * scale)), max(2, round(info.height * scale)))
    if info.duration_s <= 0:
        return _read(VideoReader(info.path, size=size, info=info, max_frames=1), 1)
    if info.duration_s > _MAX_DECODED_S:
        indices = [int((part + 0.5) * info.num_frames_at(25) / NUM_FRAMES) for part in range(NUM_FRAMES)]
        readers = [VideoReader(info.path, size=size, info=info, max_frames=1, first_frame=index) for index in indices]
        return [frame for reader in readers for frame in _read(reader, 1)]
    # Twice the number of frames, so that every other one is in the middle of its part.
    fps = Fraction(2 * NUM_FRAMES) / Fraction(info.duration_s).limit_denominator(1000)
    frames = _read(VideoReader(info.path, fps, size=size, info=info, max_frames=2 * NUM_FRAMES), 2 * NUM_FRAMES)
    return frames[1::2] or frames


def _read(reader: VideoReader, num_frames: int) -> list[np.ndarray]:
    """Return the frames that a reader decodes within the time limit."""
    with reader:
        timer = threading.Timer(_TIMEOUT_S, reader.close)
        timer.daemon = True
        timer.start()
        try:
            return list(islice(reader, num_frames))
        except ValueError:  # the timer closed the pipe during a read
            return []
        finally:
            timer.cancel()
