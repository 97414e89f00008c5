"""Measure whether the lips jump at the borders between windows of the U-Net.

    python -m benchmarks.window_borders SOURCE RESULT OVERLAP

RESULT was generated from SOURCE with ``--overlap_frames OVERLAP``. Prints the mean change of the generated region
between successive frames at window borders, divided by that elsewhere: 1 means no jump.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser
from latentsync.media.reader import VideoReader
from latentsync.pipelines.windows import plan_windows

NUM_WINDOW_FRAMES = 16
GENERATED_LEVELS = 6
"""A pixel counts as generated if it differs from the source by more than this many levels in a third of the frames."""


def read_grey(video: Path) -> np.ndarray:
    """Return the mean of the channels (f, h, w) float32 of all frames, held in memory: for short clips."""
    with VideoReader(video, Fraction(25)) as reader:
        return np.stack([frame.mean(axis=2, dtype=np.float32) for frame in reader])


def border_ratio(source: np.ndarray, result: np.ndarray, overlap: int) -> float:
    """Return the mean change at the first frame of every window but the first, divided by the mean change elsewhere."""
    num_frames = min(len(source), len(result))
    changed = np.abs(source[:num_frames] - result[:num_frames]) > GENERATED_LEVELS
    step = np.abs(np.diff(result, axis=0))[:, changed.mean(axis=0) > 1 / 3].mean(axis=1)
    spans = list(plan_windows(len(result), NUM_WINDOW_FRAMES, overlap))
    borders = [span.start - 1 for span in spans[1:]]
    return float(step[borders].mean() / np.delete(step, borders).mean())


def main() -> None:
    """Print the ratio."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("overlap", type=int)
    arguments = parser.parse_args()
    ratio = border_ratio(read_grey(arguments.source), read_grey(arguments.result), arguments.overlap)
    print(f"change at window borders over elsewhere: {ratio:.2f}")


if __name__ == "__main__":
    main()
