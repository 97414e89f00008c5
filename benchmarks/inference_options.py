"""Measure what each option of inference costs: the same video with one option changed at a time, in one process.

    python -m benchmarks.inference_options [--video V --audio A] [--repeats 2] [--only deepcache overlap]
    python -m benchmarks.inference_options --only preset

Prints a Markdown table: the CPU time of a run (with face detection, without ffmpeg) divided by that of the
defaults, the shortest of interleaved repeats; and the mean PSNR of whole frames to the defaults' result. The
defaults are those of the configuration without its preset, 20 leading steps. CPU time is not affected by other work on
the machine; on a GPU use the wall-clock time instead.
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
from latentsync.judges.crop_measures import psnr_db
from latentsync.media.reader import VideoReader
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.presets import PRESETS
from latentsync.recipes.lipsync import build_pipeline
from latentsync.recipes.lipsync_arguments import (
    DEEPCACHE_INTERVAL,
    add_device_arguments,
    add_weight_arguments,
    chosen_build,
)
from scripts.inference import DEMO_AUDIO, DEMO_VIDEO


def variants(defaults: LipsyncOptions) -> dict[str, LipsyncOptions]:
    """Return options by their command-line arguments; the first are the defaults. Presets use the same networks."""
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
        "--timestep_spacing trailing": replace(defaults, timestep_spacing="trailing"),
        "--guidance_interval 0 0.5": replace(defaults, guidance_interval=(0.0, 0.5)),
        **{
            f"--preset {name}": replace(defaults, **preset.options())
            for name, preset in PRESETS.items()
            if preset != PRESETS["exact"] and preset.vae == "full"
        },
        "--batch_size 2": replace(defaults, batch_windows=2),
    }


def frames_of(video: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a video."""
    with VideoReader(video) as reader:
        yield from reader


def mean_psnr_db(video: Path, reference: Path) -> float:
    """Return the mean PSNR in dB over the frames of two equally long videos; equal frames count as 99 dB."""
    pairs = zip(frames_of(video), frames_of(reference), strict=True)
    return float(np.mean([99.0 if np.array_equal(frame, other) else psnr_db(frame, other) for frame, other in pairs]))


def main() -> None:
    """Measure and print the table."""
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
            f"{seconds['defaults']:.1f} s of CPU time with the defaults\n"
        )
        print("| option | CPU time over the defaults' | PSNR to the defaults' result, dB |\n|---|---|---|")
        for option in list(chosen)[1:]:
            ratio = seconds[option] / seconds["defaults"]
            psnr = mean_psnr_db(outputs[option], outputs["defaults"])
            print(f"| `{option}` | {ratio:.2f} | {psnr:.1f} |", flush=True)


if __name__ == "__main__":
    main()
