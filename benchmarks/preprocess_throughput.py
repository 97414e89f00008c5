"""Measure every step of the data pipeline in clips per second, and whether ffmpeg, the network or the rest limits it.

First every step runs in this process on the clips of the step before, with one thread. Its CPU time is split into
ffmpeg and ffprobe (their processes), networks (torch modules), and the rest (Python, OpenCV, face warping); processor
time is not affected by other work on the machine. Then the same clips run in `--workers` worker processes. The first
clip of every worker is not counted, so that starting and loading are excluded. Steps whose weights are missing are
listed and skipped.

Run: python -m benchmarks.preprocess_throughput [--raw FOLDER] [--num_clips 8] [--seconds 6] [--size 512]
         [--config configs/preprocess/demo.yaml] [--workers 1 2] [key=value ...]
Without --raw, synthetic talking heads are rendered first (about 0.1 s per frame of 512 px).
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from demo.synthetic.clip import TalkingClip, write_video
from latentsync.cli import OneLineParser, run_command
from latentsync.config import load_config
from latentsync.device import resolve_device
from latentsync.errors import CheckpointError, InputError, LatentSyncError
from latentsync.executors.base import Executor, Failed
from latentsync.executors.local import LocalExecutor
from latentsync.media.probe import probe_video
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import REPOSITORY_ROOT
from preprocess.config import PreprocessConfig, build_steps
from preprocess.step import Clip, Done, Output, Step, StepResult
from preprocess.step_work import StepWork, Task

RAW_SUFFIXES = {".mp4", ".mov", ".mkv", ".avi", ".webm"}


@dataclass(frozen=True)
class Shares:
    """CPU seconds of a step over all its clips, and its wall-clock seconds.

    Attributes:
        ffmpeg_s: CPU time of its child processes.
        network_s: CPU time of this process inside torch modules.
        own_s: CPU time of this process elsewhere.
        clock_s: wall-clock time.
    """

    ffmpeg_s: float
    network_s: float
    own_s: float
    clock_s: float

    @property
    def total_s(self) -> float:
        """Total CPU time."""
        return max(self.ffmpeg_s + self.network_s + self.own_s, 1e-9)

    @property
    def limit(self) -> str:
        """Name of the largest part of the CPU time."""
        parts = {"decoding and encoding": self.ffmpeg_s, "the network": self.network_s, "the rest": self.own_s}
        return max(parts, key=lambda name: parts[name])


@dataclass(frozen=True)
class Measurement:
    """Measured values of one step.

    Attributes:
        step: the step.
        clips: its inputs.
        clip_s: seconds of video of the inputs.
        num_kept: number of output clips.
        shares: split of the CPU time.
        rates: clips per second by number of workers; None if there were too few clips.
    """

    step: Step
    clips: Sequence[Clip]
    clip_s: float
    num_kept: int
    shares: Shares
    rates: dict[int, float | None]


class NetworkClock:
    """CPU seconds of this thread inside outermost torch modules while `listening`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._entered = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Register hooks on the calls of all modules."""
        before = register_module_forward_pre_hook(self._enter)
        after = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    def _enter(self, module: torch.nn.Module, inputs: Any) -> None:
        if self._depth == 0:
            self._entered = time.process_time()
        self._depth += 1

    def _leave(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.process_time() - self._entered


def raw_clips(options: argparse.Namespace, folder: Path) -> list[Clip]:
    """Return the raw videos of a folder, or render synthetic ones."""
    if options.raw is not None:
        paths = sorted(path for path in options.raw.rglob("*") if path.suffix.lower() in RAW_SUFFIXES)
        paths = paths[: options.num_clips]
        if not paths:
            raise InputError(f"{options.raw} holds no videos: name a folder that does")
    else:
        paths = [folder / f"talker{index}.mp4" for index in range(options.num_clips)]
        for index, path in enumerate(paths):
            write_video(TalkingClip(options.seed, index, options.seconds, frame_size=options.size), path)
    return [Clip(f"{index:040x}", f"{index:040x}", path.stem, path) for index, path in enumerate(paths)]


def next_clips(clip: Clip, result: StepResult) -> list[Clip]:
    """Return the output clips of a result; their files remain in the work folder."""
    outputs = result.outputs if isinstance(result, Done) else ()
    return [_made(clip, index, output) for index, output in enumerate(outputs)]


def _made(clip: Clip, index: int, output: Output) -> Clip:
    sidecars = {name: str(path) for name, path in output.sidecars.items()}
    facts = {**clip.facts, **output.facts, **sidecars}
    return replace(
        clip, key=f"{clip.key[1:]}{index:x}", name=clip.name + output.suffix, path=output.file or clip.path, facts=facts
    )


def run_here(step: Step, clips: Sequence[Clip], folder: Path) -> tuple[list[Clip], Shares]:
    """Run a step in this process with one thread; return its output clips and the split of the time."""
    process = step.load(resolve_device() if step.uses_device else torch.device("cpu"))
    clock, made = NetworkClock(), []
    clock_s, own_s, ffmpeg_s = time.monotonic(), time.process_time(), _children_s()
    with clock.listening():
        for index, clip in enumerate(clips):
            work = folder / f"{step.number}_{index}"
            work.mkdir(parents=True)
            made += next_clips(clip, process(clip, work))
    own_s = time.process_time() - own_s - clock.seconds
    return made, Shares(_children_s() - ffmpeg_s, clock.seconds, own_s, time.monotonic() - clock_s)


def _children_s() -> float:
    """Return the CPU seconds of terminated child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rate(executor: Executor, step: Step, clips: Sequence[Clip], folder: Path, num_workers: int) -> float | None:
    """Return clips per second after every worker has finished one; None with fewer than two clips per worker.

    Raises:
        LatentSyncError: a clip failed.
    """
    if len(clips) < 2 * num_workers:
        return None
    ends = []
    for finished in executor.run(StepWork(step), (Task(clip.key, clip, folder / clip.key) for clip in clips)):
        if isinstance(finished.result, Failed):
            raise LatentSyncError(f"step {step.number}: {finished.task.clip.path}: {finished.result.detail}")
        ends.append(time.monotonic())
    return (len(ends) - num_workers) / max(ends[-1] - ends[num_workers - 1], 1e-9)


def measure(
    step: Step, clips: Sequence[Clip], workers: Sequence[int], folder: Path, make: Callable[[int], Executor]
) -> tuple[list[Clip], Measurement]:
    """Return the output clips of a step and its measured values."""
    made, shares = run_here(step, clips, folder)
    rates = {count: rate(make(count), step, clips, folder / f"{step.number}_by_{count}", count) for count in workers}
    clip_s = sum(probe_video(clip.path).duration_s for clip in clips)
    return made, Measurement(step, clips, clip_s, len(made), shares, rates)


def table(measurements: Sequence[Measurement], workers: Sequence[int]) -> str:
    """Return the measured values as a Markdown table."""
    counts = [f"clips/s, {count} worker{'s' if count > 1 else ''}" for count in workers]
    heads = ["step", "clips in / out", "s a clip", *counts, "processor s a clip", "ffmpeg", "network", "rest", "limit"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for each in measurements:
        shares, num = each.shares, len(each.clips)
        rates = ["too few clips" if value is None else f"{value:.2f}" for value in each.rates.values()]
        parts = [f"{part / shares.total_s:.0%}" for part in (shares.ffmpeg_s, shares.network_s, shares.own_s)]
        cells = [
            *(f"{each.step.number} {each.step.name}", f"{num} / {each.num_kept}", f"{each.clip_s / num:.1f}", *rates),
            *(f"{shares.total_s / num:.2f}", *parts, shares.limit),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def run(options: argparse.Namespace, folder: Path) -> str:
    """Measure all steps and return the table with the skipped steps below it."""
    config = load_config(options.config, PreprocessConfig, options.overrides)
    clips = raw_clips(options, folder / "raw")
    torch.set_num_threads(1)
    measurements, skipped = [], []
    for step in build_steps(config):
        if step.number in config.skip_steps:
            skipped.append(f"Step {step.number} {step.name}: skipped (skip_steps).")
            continue
        try:
            step.weights()
        except CheckpointError as error:
            skipped.append(f"Step {step.number} {step.name}: not measured, {error}.")
            continue
        if not clips:
            skipped.append(f"Step {step.number} {step.name}: not measured, no clip reached it.")
            continue
        clips, measurement = measure(
            step, clips, options.workers, folder / "work",
            lambda count: LocalExecutor(folder / "logs", num_workers=count),
        )  # fmt: skip
        measurements.append(measurement)
        sys.stderr.write(f"step {step.number} {step.name}: {measurement.shares}, {measurement.rates}\n")
    return "\n\n".join([table(measurements, options.workers), *skipped])


def main() -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, default=None, help="folder of raw videos instead of synthetic ones")
    parser.add_argument("--num_clips", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a synthetic video")
    parser.add_argument("--size", type=int, default=512, help="side length of a synthetic video in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, default=REPOSITORY_ROOT / "configs/preprocess/demo.yaml")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args()
    return run_command(lambda: print_table(options))


def print_table(options: argparse.Namespace) -> int:
    """Measure all steps in a temporary folder and print the table."""
    with temporary_folder(remedy="set TMPDIR to another folder") as folder:
        print(run(options, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
