"""Measure the cost of inference options: the same video with one changed option at a time, in one process.

    python -m benchmarks.inference_options [--video V --audio A] [--repeats 2] [--steps 20] [--only deepcache overlap]

Prints a Markdown table with the CPU time of the complete run (including face detection, without ffmpeg) relative to the
defaults, as the shortest of alternating repeats, and the mean PSNR of whole frames relative to the result of the
defaults. CPU time does not depend on other processes; on a GPU, compare wall-clock time instead.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from latentsync.cli import OneLineParser
from latentsync.media.reader import VideoReader
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.lipsync import build_pipeline
from latentsync.recipes.lipsync_arguments import (
    DEEPCACHE_INTERVAL,
    add_device_arguments,
    add_weight_arguments,
    chosen_build,
)
from scripts.inference import DEMO_AUDIO, DEMO_VIDEO


def variants(defaults: LipsyncOptions) -> dict[str, LipsyncOptions]:
    """Return the options by their command line; the first entry has the defaults."""
    steps = defaults.num_inference_steps
    return {
        "defaults": defaults,
        f"--inference_steps {steps // 2}": replace(defaults, num_inference_steps=steps // 2),
        f"--inference_steps {steps * 2}": replace(defaults, num_inference_steps=steps * 2),
        "--guidance_scale 1": replace(defaults, guidance_scale=1.0),
        "--enable_deepcache": replace(defaults, deepcache_interval=DEEPCACHE_INTERVAL),
        "--overlap_frames 0": replace(defaults, overlap_frames=0),
        "--overlap_frames 8": replace(defaults, overlap_frames=8),
        f"--scheduler dpmsolver++ --inference_steps {steps // 2}": replace(
            defaults, scheduler="dpmsolver++", num_inference_steps=steps // 2
        ),
        "--batch_size 2": replace(defaults, batch_windows=2),
    }


def frames_of(video: Path) -> Iterator[np.ndarray]:
    """Read the frames of a result."""
    with VideoReader(video) as reader:
        yield from reader


def mean_psnr(video: Path, reference: Path) -> float:
    """Return the mean PSNR over the frames of two videos of equal length in dB; equal frames count as 99."""
    values = []
    for frame, other in zip(frames_of(video), frames_of(reference), strict=True):
        error = float(((frame.astype(np.float32) - other) ** 2).mean())
        values.append(99.0 if error == 0 else 10 * math.log10(255**2 / error))
    return float(np.mean(values))


def main() -> None:
    """Measure the options and print the table."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=DEMO_VIDEO)
    parser.add_argument("--audio", type=Path, default=DEMO_AUDIO)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only options that contain one of these words")
    parser.add_argument("--steps", type=int, help="denoising steps of the defaults (default: the configuration's)")
    add_weight_arguments(parser)
    add_device_arguments(parser)
    arguments = parser.parse_args()
    weights, build = chosen_build(arguments)
    pipeline = build_pipeline(build)
    chosen = variants(replace(build.default_options(arguments.steps), vae_batch_size=arguments.vae_batch_size))
    if arguments.only:
        chosen = {name: o for name, o in chosen.items() if name == "defaults" or any(w in name for w in arguments.only)}
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        outputs = {option: Path(name) / f"{number}.mp4" for number, option in enumerate(chosen)}
        for _ in range(arguments.repeats):
            for option, options in chosen.items():
                start = time.process_time()
                pipeline(arguments.video, arguments.audio, outputs[option], options)
                seconds[option] = min(time.process_time() - start, seconds.get(option, math.inf))
        print(
            f"{weights.version or weights.describe()}, {build.device}: "
            f"{seconds['defaults']:.1f} s of processor time with the defaults\n"
        )
        print("| option | processor time over the defaults' | PSNR to the defaults' result, dB |\n|---|---|---|")
        for option in list(chosen)[1:]:
            ratio = seconds[option] / seconds["defaults"]
            print(f"| `{option}` | {ratio:.2f} | {mean_psnr(outputs[option], outputs['defaults']):.1f} |", flush=True)


if __name__ == "__main__":
    main()
