"""Measure cropping, pasting and detecting a face in ms per 1080p frame, compared with processing the whole frame.

With `--clip` it only compares the face pass over the first 96 frames of a clip, without decoding: full detection of
every frame at full size, and what the command does: reduced frames, of which most are followed. The two alternate.

On a CPU the CPU time of all threads is measured, which other work on the machine does not affect; on other
devices the wall-clock time.

Run: python -m benchmarks.face_speed [--num_threads 1] [--device cpu] [--resolution 256] [--num_frames 16] [--clip CLIP]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.measurement import best_seconds
from latentsync.cli import OneLineParser
from latentsync.device import resolve_device
from latentsync.face.align import (
    Aligner,
    alignment_matrices,
    compose,
    crop_faces,
    invert,
    pixel_grid,
    tall_size,
    tall_to_square,
    unit_square,
)
from latentsync.face.face_plan import raw_plan
from latentsync.face.frames import reduced_size
from latentsync.face.mask import keep_mask
from latentsync.face.mtcnn import MtcnnDetector
from latentsync.face.paste import FacePaster
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.media.ffmpeg_tools import REDUCE_FLAGS, SCALE_FLAGS
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader

WIDTH, HEIGHT = 1920, 1080
BROW_DISTANCE = 170.0
"""Brow distance in pixels of a face that fills about half the frame height."""

_CLIP_FRAMES = 96


def whole_frame_crop(frame: np.ndarray, tall_matrix: np.ndarray, resolution: int) -> np.ndarray:
    """Crop the whole frame in floating point, then resize with Pillow."""
    width, height = tall_size(resolution)
    whole = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    to_unit = compose(unit_square((0, 0, WIDTH, HEIGHT)), invert(tall_matrix))
    tall = F.grid_sample(whole, pixel_grid(to_unit, width, height, whole.device), align_corners=False)
    image = Image.fromarray(tall[0].permute(1, 2, 0).byte().numpy())
    return np.asarray(image.resize((resolution, resolution), Image.Resampling.LANCZOS))


def whole_frame_paste(frame: np.ndarray, generated: torch.Tensor, tall_matrix: np.ndarray) -> np.ndarray:
    """Paste with the published steps on the whole frame: warp, erode, blur, blend."""
    resolution = generated.shape[-1]
    source = torch.from_numpy(frame).permute(2, 0, 1).float()
    matrix = compose(tall_to_square(resolution), tall_matrix)
    to_unit = compose(unit_square((0, 0, resolution, resolution)), matrix)
    grid = pixel_grid(to_unit, WIDTH, HEIGHT, source.device)
    kept = keep_mask(resolution)[None]
    layers = torch.cat([(generated + 1) * 127.5, kept, torch.ones_like(kept)])[None]
    warped = F.grid_sample(layers, grid, align_corners=False)[0]
    area = cv2.erode(warped[4].numpy(), np.ones((2, 2)))
    edge = int(np.sqrt(area.sum())) // 20
    eroded, size = cv2.erode(area, np.ones((2 * edge, 2 * edge))), 2 * edge + 1
    soft = torch.from_numpy(cv2.GaussianBlur(eroded, (size, size), 0.3 * ((size - 1) / 2 - 1) + 0.8))
    blended = source + soft * (1 - warped[3:4]) * (warped[:3] - source)
    return blended.round().byte().permute(1, 2, 0).numpy()


def milliseconds(task: Callable[[], object], num_frames: int, clock: Callable[[], float]) -> float:
    """Return the best time of three calls in ms per frame."""
    return best_seconds(task, clock=clock) / num_frames * 1e3


def face_pass_times(clip: Path, detector: MtcnnDetector, clock: Callable[[], float]) -> list[float]:
    """Return ms per frame of the face pass without decoding, the best of two alternating rounds.

    First as the command does, with reduced frames most of which are not detected fully, then with full detection.
    """
    info = probe_video(clip)
    frame_size = (info.width, info.height)
    small, passes = reduced_size(*frame_size, detector.longest_side), []
    for size, interval, batch_size in ((small, DETECTION_INTERVAL, 2 * DETECTION_INTERVAL), (frame_size, 1, 16)):
        flags = SCALE_FLAGS if size == frame_size else REDUCE_FLAGS
        with VideoReader(clip, max_frames=_CLIP_FRAMES, size=size, info=info, scale_flags=flags) as reader:
            frames = list(reader)
        passes.append(partial(raw_plan, frames, detector, "largest", batch_size, None, interval, frame_size))
    rounds = [[_seconds(run, clock) * 1e3 / len(frames) for run in passes] for _ in range(2)]
    return [min(times) for times in zip(*rounds, strict=True)]


def _seconds(task: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the time of one call."""
    start = clock()
    task()
    return clock() - start


def main() -> None:
    """Print one line per task."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--num_frames", type=int, default=16)
    parser.add_argument("--clip", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.num_threads)
    cv2.setNumThreads(options.num_threads)
    device, resolution, num_frames = resolve_device(options.device), options.resolution, options.num_frames

    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if options.clip is not None:
        sparse, full = face_pass_times(options.clip, MtcnnDetector(device), clock)
        print(f"faces   {sparse:7.2f} ms   full detection {full:7.2f} ms   {full / sparse:5.2f} x")
        return
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(num_frames)]
    face = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]) * BROW_DISTANCE + [850, 350]
    anchors = face + rng.normal(0, 1, (num_frames, 1, 2))
    matrices = alignment_matrices(anchors, resolution)
    aligner = Aligner(resolution)
    tall_matrices = [aligner.tall_matrix(points) for points in anchors]
    crops = crop_faces(frames, matrices, resolution, device)
    paster, on_cpu = FacePaster(resolution, device), crops.cpu()

    with torch.inference_mode():
        ours = milliseconds(lambda: crop_faces(frames, matrices, resolution, device).cpu(), num_frames, clock)
        pairs = list(zip(frames, tall_matrices, strict=True))
        plain = milliseconds(lambda: [whole_frame_crop(f, m, resolution) for f, m in pairs], num_frames, clock)
        print(f"crop    {ours:7.2f} ms   whole frame {plain:7.2f} ms   {ours / plain:5.2f} of it")
        ours = milliseconds(lambda: paster.paste_batch(frames, crops, matrices), num_frames, clock)
        triples = list(zip(frames, on_cpu, tall_matrices, strict=True))
        plain = milliseconds(lambda: [whole_frame_paste(f, c, m) for f, c, m in triples], num_frames, clock)
        print(f"paste   {ours:7.2f} ms   whole frame {plain:7.2f} ms   {ours / plain:5.2f} of it")
        detector = MtcnnDetector(device)
        print(f"detect  {milliseconds(lambda: detector.detect(frames), num_frames, clock):7.2f} ms (on noise)")


if __name__ == "__main__":
    main()
