"""Measure the time of one lip-sync command by stage: processor time and wall-clock time.

    python -m benchmarks.demo_time [--num_threads 1] [arguments of ./inference.sh]

Without arguments of ./inference.sh it runs the demo. The result is written to a temporary folder. The processor time of
a stage is that of its thread and of its ffmpeg processes; other work on the machine hardly affects it. It is known by
stage only if PyTorch uses one thread, which is the default here. The stages run concurrently: their wall-clock times
include waiting for the processor, and their sum exceeds the whole. `--num_threads 2` shows the whole with two threads.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.measurement import markdown_table
from benchmarks.pipeline_parts import PartClock, child_processor_seconds, parts_counted
from latentsync.cli import OneLineParser, run_command
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from scripts import inference

WHOLE = "whole"
COLUMNS = ("stage", "processor, s", "of which ffmpeg, s", "wall-clock, s")


def measure(arguments: argparse.Namespace, num_threads: int) -> list[dict[str, Any]]:
    """Run inference in this process; return the rows of the table.

    Args:
        arguments: parsed arguments of ./inference.sh; the result is not kept.
        num_threads: threads of PyTorch.
    """
    torch.set_num_threads(num_threads)
    began = psutil.Process().create_time()
    chosen = ChosenPipeline.of(arguments)
    pipeline = chosen.load()
    rows = [_row("start-up", time.process_time(), child_processor_seconds(), time.time() - began)]
    with (
        tempfile.TemporaryDirectory() as folder,
        PartClock(chosen.build.device, samples_memory=False) as clock,
        parts_counted(pipeline, clock),
    ):
        out = Path(folder) / "out.mp4"
        pipeline(arguments.video_path, arguments.audio_path, out, chosen.options, temp_dir=Path(folder))
    whole = _row(WHOLE, time.process_time(), child_processor_seconds(), time.time() - began)
    if num_threads == 1:
        usages = clock.usage.items()
        rows += [_row(name, usage.processor_seconds, usage.child_seconds, usage.seconds) for name, usage in usages]
        rows.append({"stage": "rest"} | {key: whole[key] - sum(row[key] for row in rows) for key in COLUMNS[1:3]})
    return [*rows, whole]


def _row(stage: str, own_s: float, ffmpeg_s: float, wall_s: float) -> dict[str, Any]:
    return dict(zip(COLUMNS, (stage, own_s + ffmpeg_s, ffmpeg_s, wall_s), strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    own, others = parser.parse_known_args(arguments)
    given = inference.build_parser().parse_args(others)
    return run_command(lambda: _main(given, own.num_threads), when_stopped="nothing was written")


def _main(arguments: argparse.Namespace, num_threads: int) -> int:
    rows = measure(arguments, num_threads)
    print(markdown_table(COLUMNS, rows))
    print(f"\n{rows[-1][COLUMNS[1]] / rows[-1][COLUMNS[-1]]:.2f} cores were busy on average")
    return 0


if __name__ == "__main__":
    sys.exit(main())
