"""Measure the face pass over one long clip: resident memory while it runs, and processor time.

ffmpeg's memory is not included, its processor time is printed apart. `--interval 1` reads full-size frames and detects
every one of them fully.

Run: ffmpeg -stream_loop 6 -i clip.mp4 -c copy -t 62 long.mp4; python -m benchmarks.face_memory long.mp4 [--interval 12]
"""

import argparse
import resource
import time
from pathlib import Path

import psutil
import torch

from benchmarks.anchor_jitter import plan
from benchmarks.measurement import resident_bytes
from latentsync.cli import OneLineParser
from latentsync.device import resolve_device
from latentsync.face.mtcnn import MtcnnDetector
from latentsync.face.sparse_detection import DETECTION_INTERVAL

_FRAMES_PER_LINE = 144


def main() -> None:
    """Print resident memory about every 144 frames, then the processor time per frame."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--interval", type=int, default=DETECTION_INTERVAL, help="frames per full detection")
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.num_threads)
    process, detector = psutil.Process(), MtcnnDetector(resolve_device(options.device))

    def show(num_frames: int) -> None:
        if num_frames % _FRAMES_PER_LINE == 0:
            own = resident_bytes(process) - sum(resident_bytes(child) for child in process.children())
            print(f"frame {num_frames:5d}  {own / 1024**2:6.0f} MiB", flush=True)

    start = time.process_time()
    found, _ = plan(options.clip, detector, options.interval, show)
    spent, decoder = time.process_time() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    decoding = decoder.ru_utime + decoder.ru_stime
    print(f"{spent / len(found) * 1e3:.1f} ms per frame, and {decoding / len(found) * 1e3:.1f} ms of the decoder")


if __name__ == "__main__":
    main()
