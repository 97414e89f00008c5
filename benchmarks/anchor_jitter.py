"""Measure the jitter of the tracked face in real clips, in how many frames it is found, and what following changes.

Every clip is read twice: at full size with full detection of every frame, and reduced with most frames followed, as
the command does. The table has the second one's jitter beside the first one's, and the distances of the smoothed
anchors between the two.

Run: python -m benchmarks.anchor_jitter ../shared/real/*.mp4 [--detector auto] [--device cpu]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser
from latentsync.device import resolve_device
from latentsync.face.detection import FaceDetector, FollowingDetector
from latentsync.face.detector import DETECTORS, build_detector
from latentsync.face.face_plan import FacePlan, jitter, raw_plan
from latentsync.face.frames import reduced_size
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.media.ffmpeg_tools import REDUCE_FLAGS, SCALE_FLAGS
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.weights import AUXILIARY


def main() -> None:
    """Print one line per clip; jitter is the mean second difference of the anchors divided by the brow distance."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--detector", default="auto", choices=DETECTORS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--auxiliary_dir", type=Path, default=AUXILIARY)
    parser.add_argument("--interval", type=int, default=DETECTION_INTERVAL, help="frames per full detection")
    options = parser.parse_args()
    detector = build_detector(options.detector, resolve_device(options.device), options.auxiliary_dir)
    print(f"{'clip':28} frames  found  segments  jitter   full   smoothed   full   moved (px): mean  worst")
    for clip in options.clips:
        full, fps = plan(clip, detector, 1)
        sparse, _ = plan(clip, detector, options.interval)
        smooth, smooth_full = sparse.smoothed(fps), full.smoothed(fps)
        moved = np.linalg.norm(smooth.anchors - smooth_full.anchors, axis=-1)
        print(
            f"{clip.name:28} {len(sparse):6d} {(sparse.segment >= 0).mean():6.1%} {len(sparse.segments()):9d} "
            f"{jitter(sparse.anchors):7.4f} {jitter(full.anchors):6.4f} "
            f"{jitter(smooth.anchors):10.5f} {jitter(smooth_full.anchors):.5f} "
            f"{np.nanmean(moved):16.3f} {np.nanmax(moved):6.3f}"
        )


def plan(
    clip: Path, detector: FaceDetector, interval: int, progress: Callable[[int], None] | None = None
) -> tuple[FacePlan, float]:
    """Return the unsmoothed plan of a clip and its frames per second; reduced frames if `interval` is above 1."""
    info = probe_video(clip)
    frame_size = (info.width, info.height)
    size, flags = frame_size, SCALE_FLAGS
    if interval > 1 and isinstance(detector, FollowingDetector):
        size = reduced_size(*frame_size, detector.longest_side)
        flags = SCALE_FLAGS if size == frame_size else REDUCE_FLAGS
    with VideoReader(clip, size=size, info=info, scale_flags=flags) as reader:
        batch_size = 16 if interval == 1 else 2 * interval
        return raw_plan(reader, detector, "largest", batch_size, progress, interval, frame_size), float(reader.fps)


if __name__ == "__main__":
    main()
