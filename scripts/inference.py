"""Generate a video of a person whose lips follow a speech file: ``python -m scripts.inference --help``."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, one_line, run_command
from latentsync.errors import LatentSyncError
from latentsync.media.probe import probe_ahead
from latentsync.pipelines.lipsync_job import CheckedJob, LipsyncOutputs, check_job
from latentsync.pipelines.video_maker import Pipeline, VideoJob, VideoMaker
from latentsync.recipes.lipsync_arguments import (
    ChosenPipeline,
    add_device_arguments,
    add_sampling_arguments,
    add_single_video_arguments,
    add_weight_arguments,
)
from latentsync.recipes.video_list import job_outputs, preset_of, read_jobs, summary
from latentsync.weights import REPOSITORY_ROOT

if TYPE_CHECKING:
    from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
    from latentsync.pipelines.report import LipsyncReport

DEMO_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
DEMO_AUDIO = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser; flags of the published script keep their names."""
    parser = OneLineParser(prog="inference.sh", description=__doc__, allow_abbrev=False)
    add = parser.add_argument_group("files").add_argument
    add("--video_path", type=Path, default=DEMO_VIDEO, help="source video (default: that of the demo)")
    add("--audio_path", type=Path, default=DEMO_AUDIO, help="driving audio (default: that of the demo)")
    add("--video_out_path", type=Path, default=Path("video_out.mp4"), help="the result (default: %(default)s)")
    add("--list", type=Path, help="CSV with video_path,audio_path,video_out_path[,preset]: one job per line")
    add("--temp_dir", type=Path, help="folder for temporary files (default: that of the system)")
    add("--dry_run", action="store_true", help="check files, weights and options, and stop")
    add_weight_arguments(
        parser.add_argument_group("weights (default: the published ones if present, else the demo weights)")
    )
    add_sampling_arguments(parser)
    add_single_video_arguments(parser)
    add_device_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


class FrameBars:
    """Two progress bars with the time left: for finding the face and for generating the mouth."""

    TITLES = {"faces": "finding the face", "lips": "generating lips"}  # noqa: RUF012

    def __init__(self) -> None:
        # A signal that stops the run may arrive inside tqdm. Its default lock is two locks acquired one after the
        # other in Python; a signal between them leaves one held, and closing the bars would deadlock. A single RLock
        # is acquired atomically.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._bars: dict[str, tqdm] = {}

    def __call__(self, stage: str, done: float, total: int) -> None:
        """Advance the bar of a stage."""
        if stage not in self._bars:
            self.close()
            shape = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} frames [{elapsed}<{remaining}]"
            self._bars[stage] = tqdm(total=total, desc=self.TITLES[stage], bar_format=shape)
        bar = self._bars[stage]
        bar.total = total
        bar.update(max(0.0, done - bar.n))

    def close(self) -> None:
        """Close all bars; they stay on the screen."""
        for bar in self._bars.values():
            bar.close()


def load(chosen: ChosenPipeline) -> LipsyncPipeline:
    """Build the pipeline and print its weights and device."""
    pipeline = chosen.load()
    print(chosen.describe())
    return pipeline


def run_one(arguments: argparse.Namespace) -> int:
    """Generate one video and print the report, or only check that it can be generated."""
    video, audio, out = arguments.video_path, arguments.audio_path, arguments.video_out_path
    probe_ahead(video, audio)
    chosen = ChosenPipeline.of(arguments)  # imports torch
    outputs = LipsyncOutputs.of(out, chosen.options.compare)
    job = check_job(video, audio, outputs, chosen.options.video_fps, arguments.temp_dir, chosen.files())
    pipeline = load(chosen)
    if arguments.dry_run:
        print(description(job))
        print("1 of 1 can begin; nothing was written")
        return 0
    report = _generate_with_bars(pipeline, chosen, arguments.temp_dir)(video, audio, out)
    print("\n".join(report.lines()))
    if chosen.weights.is_demo and video != DEMO_VIDEO:
        print("the demo weights are trained on synthetic people only: on a real face the mouth looks artificial")
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Generate the missing videos of a list and print a summary; return 1 if one failed."""
    from latentsync.recipes.lipsync import result_settings  # imports torch, which --help does without

    chosen = ChosenPipeline.of(arguments)
    jobs = read_jobs(arguments.list, chosen.options.compare, chosen.files())
    presets = {preset_of(job) for job in jobs} - {None}
    choices = {None: chosen} | {preset: ChosenPipeline.of(arguments, preset) for preset in presets}

    def check(job: VideoJob) -> CheckedJob:
        outputs = job_outputs(job, chosen.options.compare)
        return check_job(job.video, job.audio, outputs, chosen.options.video_fps, arguments.temp_dir, chosen.files())

    if arguments.dry_run:
        return check_list(jobs, check, chosen)
    loaded = cache(lambda build: load(replace(chosen, build=build)))

    def maker(choice: ChosenPipeline) -> VideoMaker:
        pipeline = cache(lambda: _generate_with_bars(loaded(choice.build), choice, arguments.temp_dir))
        return VideoMaker(result_settings(choice.build, choice.options), pipeline, check)

    makers = {preset: maker(choice) for preset, choice in choices.items()}
    outcomes = []
    for number, job in enumerate(jobs, start=1):
        outcomes.append(makers[preset_of(job)].make(job))
        print(f"{number} of {len(jobs)}: {job.result}: {outcomes[-1].error or 'done'}", flush=True)
    print("\n".join(summary(outcomes)))
    return EXIT_SOME_FAILED if any(outcome.error is not None for outcome in outcomes) else 0


def check_list(jobs: Sequence[VideoJob], check: Callable[[VideoJob], CheckedJob], chosen: ChosenPipeline) -> int:
    """Print for each job of a list whether it can start, and build the pipeline; return 1 if one cannot."""
    num_faults = 0
    for job in jobs:
        try:
            print(description(check(job)))
        except LatentSyncError as error:
            num_faults += 1
            print(f"{job.result}: {one_line(error)}")
    load(chosen)
    print(f"{len(jobs) - num_faults} of {len(jobs)} can begin; nothing was written")
    return EXIT_SOME_FAILED if num_faults else 0


def description(job: CheckedJob) -> str:
    """Return a line of a dry run: inputs and output of a job."""
    video, audio = job.video, job.audio
    size = f"{video.width} x {video.height}, {float(video.fps):g} fps, {video.duration_s:.1f} s"
    return f"{job.outputs.video}: from {video.path} ({size}) and {audio.path} ({audio.duration_s:.1f} s)"


def _generate_with_bars(pipeline: LipsyncPipeline, chosen: ChosenPipeline, temp_dir: Path | None) -> Pipeline:
    """Return a function that generates one video and shows progress bars."""

    def generate(video: Path, audio: Path, out: Path) -> LipsyncReport:
        bars = FrameBars()
        try:
            return pipeline(video, audio, out, chosen.options, temp_dir=temp_dir, progress=bars)
        finally:
            bars.close()

    return generate


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if arguments.debug:
        logging.getLogger("latentsync").setLevel(logging.DEBUG)
    if arguments.list is None:
        return run_command(lambda: run_one(arguments), arguments.debug, "no result was written")
    return run_command(lambda: run_list(arguments), arguments.debug, "the same command resumes")


if __name__ == "__main__":
    sys.exit(main())
