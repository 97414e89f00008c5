"""The report's plots, drawn by matplotlib into PNG files."""

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
from preprocess.report.statistics import Example, Histogram, Quantity, StepNumbers

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


logger = logging.getLogger(__name__)

NUM_FRAMES = 4
TILE = 160
"""Width and height of a tile in pixels."""
_GAP = 2
_LABEL = 16
"""Width of the strip with the row's number."""
_GREY = (128, 128, 128)
_WHOLE_UP_TO_S = 60.0
"""Longer videos are not decoded from end to end but sought in."""
_PATIENCE_S = 30.0
"""A decoder that takes longer for one clip is ended."""


def draw_sheet(examples: Sequence[Example], path: Path) -> Path:
    """Draws one row per example, numbered from 1, `NUM_FRAMES` evenly spaced frames in each; writes a PNG."""
    width = _LABEL + NUM_FRAMES * (TILE + _GAP)
    sheet = Image.new("RGB", (width, len(examples) * (TILE + _GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, example in enumerate(examples):
        top = row * (TILE + _GAP)
        pen.text((2, top + 2), str(row + 1), fill="black")
        for column, tile in enumerate(clip_tiles(example.path)):
            sheet.paste(tile, (_LABEL + column * (TILE + _GAP), top))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as beside:
        sheet.save(beside, "PNG")
    return path


def clip_tiles(path: Path) -> list[Image.Image]:
    """Evenly spaced frames of a clip as square tiles; one grey tile where it cannot be shown, whatever the cause."""
    if not path.is_file():
        return [grey_tile("the file is\nnot there")]
    try:
        frames = _some_frames(probe_video(path))
    except (LatentSyncError, OSError, ValueError) as error:  # ValueError: a name that no file can have
        logger.info("no picture of %s: %s", path, error)
        frames = []
    if not frames:
        return [grey_tile("cannot be\ndecoded")]
    return [ImageOps.pad(Image.fromarray(frame), (TILE, TILE), Image.Resampling.LANCZOS) for frame in frames]


def grey_tile(text: str) -> Image.Image:
    """A tile that stands for a missing picture."""
    tile = Image.new("RGB", (TILE, TILE), _GREY)
    ImageDraw.Draw(tile).multiline_text(
        (TILE // 2, TILE // 2), text, fill="white", anchor="mm", align="center", font_size=16
    )
    return tile


def _some_frames(info: VideoInfo) -> list[np.ndarray]:
    """Up to `NUM_FRAMES` frames (h, w, 3), at the middles of as many equal parts of the video."""
    scale = min(1.0, 2 * TILE / max(info.width, info.height))
    size = (max(2, round(info.width * scale)), max(2, round(info.height * scale)))
    if info.duration_s <= 0:
        return _read(VideoReader(info.path, size=size, info=info, max_frames=1), 1)
    if info.duration_s > _WHOLE_UP_TO_S:
        places = [int((part + 0.5) * info.num_frames_at(25) / NUM_FRAMES) for part in range(NUM_FRAMES)]
        readers = [VideoReader(info.path, size=size, info=info, max_frames=1, first_frame=place) for place in places]
        return [frame for reader in readers for frame in _read(reader, 1)]
    # Twice as many as are shown, so that every other one lies in the middle of its part.
    fps = Fraction(2 * NUM_FRAMES) / Fraction(info.duration_s).limit_denominator(1000)
    frames = _read(VideoReader(info.path, fps, size=size, info=info, max_frames=2 * NUM_FRAMES), 2 * NUM_FRAMES)
    return frames[1::2] or frames


def _read(reader: VideoReader, num_frames: int) -> list[np.ndarray]:
    """Frames of a reader; what there is by then where it takes too long."""
    with reader:
        timer = threading.Timer(_PATIENCE_S, reader.close)
        timer.daemon = True
        timer.start()
        try:
            return list(islice(reader, num_frames))
        except ValueError:  # the timer closed the pipe in the middle of a read
            return []
        finally:
            timer.cancel()
