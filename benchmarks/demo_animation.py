"""Make the animation in the README from a video that ``./inference.sh --compare`` wrote.

    python -m benchmarks.demo_animation video_out_compare.mp4 --out demo_result.webp

The animated WebP shows the heads of source (left) and result (right), every second frame of the first seconds.
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from latentsync.cli import OneLineParser, run_command
from latentsync.media.reader import VideoReader
from latentsync.storage.output_file import atomic_output, check_output_file

LEFT, TOP, SIDE = 90 / 512, 70 / 512, 312 / 512
"""Position of the head in the demo video, relative to the frame height."""
EVERY = 2
QUALITY = 75


def heads(frame: np.ndarray) -> Image.Image:
    """Return both heads of a frame (h, 2 h, 3) that has source and result side by side."""
    height = frame.shape[0]
    left, top, side = (round(share * height) for share in (LEFT, TOP, SIDE))
    halves = (frame[:, :height], frame[:, height:])
    return Image.fromarray(np.concatenate([half[top : top + side, left : left + side] for half in halves], axis=1))


def main() -> int:
    """Write the animation; return 2 if the video cannot be read."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.2)
    arguments = parser.parse_args()
    return run_command(lambda: _main(arguments))


def _main(arguments: argparse.Namespace) -> int:
    check_output_file(arguments.out, [arguments.video])
    with VideoReader(arguments.video) as reader:
        fps = float(reader.info.fps)
        pictures = [heads(frame) for frame in islice(reader, 0, round(arguments.seconds * fps), EVERY)]
    with atomic_output(arguments.out) as beside:
        pictures[0].save(
            beside, "WEBP", save_all=True, append_images=pictures[1:], duration=round(1000 * EVERY / fps), loop=0,
            quality=QUALITY, method=6, kmin=1, kmax=1,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
