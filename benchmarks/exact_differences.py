"""Measure how each default of inference differs from `--exact`, part by part and without the U-Net.

Run: python -m benchmarks.exact_differences [VIDEO] [--frames 48] [--resolution 128] [--detector auto]

Kept pixels are inside the crop and outside the mask; levels are grey levels (0 to 255). The source's own pixels
replace generated ones, so every difference is an artefact.
"""

import argparse
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from latentsync.cli import OneLineParser
from latentsync.device import resolve_device
from latentsync.face.align import alignment_matrices, crop_faces, crop_faces_as_published, invert
from latentsync.face.detector import DETECTORS, build_detector
from latentsync.face.face_plan import FacePlan, jitter, raw_plan
from latentsync.face.mask import distance_inside, keep_mask
from latentsync.face.paste import RING_SHARE, FacePaster, PublishedPaster, match_colour
from latentsync.media.reader import VideoReader
from latentsync.models.vae import load_vae
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT


def main() -> None:
    """Print one line per part."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=REPOSITORY_ROOT / "assets" / "demo1_video.mp4")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--detector", choices=DETECTORS, default="auto")
    parser.add_argument("--vae", type=Path, default=CHECKPOINTS / "demo" / "vae")
    options = parser.parse_args()
    with VideoReader(options.video, Fraction(25)) as reader:
        frames = list(islice(reader, options.frames))
    detector = build_detector(options.detector, resolve_device("cpu"))
    plan = raw_plan(frames, detector)
    (start, stop), *_ = plan.segments()
    plan, frames = FacePlan(plan.anchors[start:stop], plan.segment[start:stop]), frames[start:stop]
    chosen = {"default": plan.smoothed(), "exact": plan.rounded()}
    print(f"{len(frames)} frames, {options.resolution} px")
    for name, one in chosen.items():
        print(f"anchors, {name}: jitter {jitter(one.anchors):.4f} of the distance between the brows")
    matrices = {name: alignment_matrices(one.anchors, options.resolution) for name, one in chosen.items()}
    crops = {
        "default": crop_faces(frames, matrices["default"], options.resolution),
        "exact": crop_faces_as_published(frames, matrices["exact"], options.resolution),
    }
    pasters = {"default": FacePaster(options.resolution), "exact": PublishedPaster(options.resolution)}
    for name, paster in pasters.items():
        results = [paster.paste(*each) for each in zip(frames, crops[name], matrices[name], strict=True)]
        error = kept_error(frames, results, matrices[name], options.resolution)
        print(f"kept pixels after pasting, {name}: {error:.2f} levels off")
    same = crop_faces(frames, matrices["exact"], options.resolution)
    print(f"crops at equal anchors: {levels(crops['exact'] - same):.2f} levels apart")
    codec = load_vae(options.vae)
    some = crops["default"][:: max(1, len(frames) // 8)]
    with torch.inference_mode():
        means = codec.decode(codec.encode(some)).clamp(-1, 1)
        draws = codec.decode(codec.encode(some, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    print(f"decoded draws of latents against decoded means: {levels(draws - means):.2f} levels apart")
    for name, images in {"default": match_colour(means, some), "exact": means}.items():
        print(f"colour step at the mask's border, {name}: {border_step(images, some):.2f} levels")


def kept_error(frames: list[np.ndarray], results: list[np.ndarray], matrices: np.ndarray, resolution: int) -> float:
    """Return the mean absolute difference in levels of pixels well inside the crop and outside the mask."""
    kept = np.pad(keep_mask(resolution).numpy()[8:-8, 8:-8], 8)
    kept = cv2.erode(kept, np.ones((5, 5)))
    errors = []
    for frame, result, matrix in zip(frames, results, matrices, strict=True):
        area = cv2.warpAffine(kept, invert(matrix), (frame.shape[1], frame.shape[0])) > 0.99
        errors.append(np.abs(frame[area].astype(float) - result[area]).mean())
    return float(np.mean(errors))


def levels(difference: Tensor) -> float:
    """Convert the mean absolute difference of pixels in [-1, 1] to levels."""
    return float(difference.abs().mean() * 127.5)


def border_step(decoded: Tensor, source: Tensor) -> float:
    """Return the mean offset in levels of decoded crops from the source, in the ring of kept pixels around the mask."""
    distance = torch.from_numpy(distance_inside(decoded.shape[-1]))
    ring = (distance < 0) & (distance >= -RING_SHARE * decoded.shape[-1])
    return float((decoded - source)[:, :, ring].mean(dim=2).abs().mean() * 127.5)


if __name__ == "__main__":
    main()
