"""Measure the jitter of the tracked face in real clips before and after smoothing, and in how many frames it is found.

Run: python -m benchmarks.anchor_jitter ../shared/real/*.mp4 [--detector auto] [--device cpu]
"""

import argparse
import time
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser
from latentsync.device import resolve_device
from latentsync.face.detector import DETECTORS, build_detector
from latentsync.face.face_plan import jitter, raw_plan
from latentsync.media.reader import VideoReader
from latentsync.weights import AUXILIARY


def main() -> None:
    """Print one line per clip; jitter is the mean second difference of the anchors divided by the brow distance."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--detector", default="auto", choices=DETECTORS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--auxiliary_dir", type=Path, default=AUXILIARY)
    options = parser.parse_args()
    detector = build_detector(options.detector, resolve_device(options.device), options.auxiliary_dir)
    print(f"{'clip':28} frames  found  segments  jitter before   after   moved (px rms)  ms per frame")
    for clip in options.clips:
        start = time.perf_counter()
        with VideoReader(clip) as reader:
            raw, fps = raw_plan(reader, detector), float(reader.fps)
        cost = (time.perf_counter() - start) / max(len(raw), 1) * 1e3
        smooth = raw.smoothed(fps)
        found = float((raw.segment >= 0).mean()) if len(raw) else 0.0
        moved = float(np.sqrt(np.nanmean((smooth.anchors - raw.anchors) ** 2)))
        print(
            f"{clip.name:28} {len(raw):6d} {found:6.1%} {len(raw.segments()):9d} {jitter(raw.anchors):14.4f} "
            f"{jitter(smooth.anchors):7.4f} {moved:16.2f} {cost:11.0f}"
        )


if __name__ == "__main__":
    main()
