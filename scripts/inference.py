"""Generate a video of a person whose lips follow a speech file: ``python -m scripts.inference --help``."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, one_line, run_command
from latentsync.errors import InputError, LatentSyncError
from latentsync.executors.arguments import LOCAL, ExecutorArguments
from latentsync.media.probe import probe_ahead
from latentsync.pipelines.lipsync_job import CheckedJob, LipsyncOutputs, check_job
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.video_maker import Outcome, VideoJob
from latentsync.pipelines.voices import Voices
from latentsync.recipes.lipsync_arguments import (
    ChosenPipeline,
    add_device_arguments,
    add_sampling_arguments,
    add_single_video_arguments,
    add_weight_arguments,
)
from latentsync.recipes.list_progress import ListProgress
from latentsync.recipes.video_list import read_jobs, summary, working_order
from latentsync.weights import REPOSITORY_ROOT

if TYPE_CHECKING:
    from latentsync.executors.base import Executor
    from latentsync.recipes.list_maker import ListMaker

DEMO_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
DEMO_AUDIO = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"
DEFAULT_OUT = Path("video_out.mp4")
WORKERS = ExecutorArguments("job")


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser; flags of the published script keep their names."""
    parser = OneLineParser(prog="inference.sh", description=__doc__, allow_abbrev=False)
    add = parser.add_argument_group("files").add_argument
    add("--video_path", type=Path, default=DEMO_VIDEO, help="source video (default: that of the demo)")
    add("--audio_path", type=Path, default=DEMO_AUDIO, help="driving audio (default: that of the demo)")
    add(
        "--video_out_path",
        type=Path,
        help=f"the result, replaced if it exists (default: {DEFAULT_OUT}, replaced if it is one)",
    )
    add(
        "--face_audio",
        action="append",
        metavar="FACE=FILE",
        help="speech of one person, such as left=a.wav; may be repeated, instead of --audio_path and --face",
    )
    add("--sound", type=Path, help="sound of the result (default: the speech, that of several people mixed)")
    add(
        "--list",
        type=Path,
        help="CSV of jobs: video_path,audio_path,video_out_path[,preset][,adapted][,face][,sound][,occluder]",
    )
    add("--temp_dir", type=Path, help="folder for temporary files (default: that of the system)")
    add("--dry_run", action="store_true", help="check files, weights and options, and stop")
    add_weight_arguments(
        parser.add_argument_group("weights (default: the published ones if present, else the demo weights)")
    )
    add_sampling_arguments(parser)
    add_single_video_arguments(parser)
    add_device_arguments(parser)
    WORKERS.add_to(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def chosen_voices(arguments: argparse.Namespace) -> Voices:
    """Return the speech of the command line.

    Raises:
        InputError: a voice is not FACE=FILE, two are of one person, or other options contradict them.
    """
    if not arguments.face_audio:
        return Voices.of_selected(arguments.face, arguments.audio_path, arguments.sound)
    if arguments.audio_path != DEMO_AUDIO or arguments.face != LipsyncOptions.face:
        raise InputError("--face_audio names people and their speech: leave --face and --audio_path out")
    return Voices.parse(arguments.face_audio, sound=arguments.sound)


def segment_executor(arguments: argparse.Namespace) -> Executor | None:
    """Return the executor that processes parts of one video, on this machine by default; None: this process does.

    Raises:
        InputError: the number of workers is missing, or other arguments contradict it.
    """
    if arguments.executor is not None and arguments.num_workers is None:
        raise InputError("--executor cuts one video into a segment for each worker: add --workers N, or --list")
    if arguments.executor is None and arguments.num_workers is not None:
        arguments = argparse.Namespace(**vars(arguments) | {"executor": LOCAL})
    return WORKERS.build(arguments)


class FrameBars:
    """Progress bars with the time left: for finding the face, who speaks if needed, and for generating the mouth."""

    TITLES = {"faces": "finding the face", "speaker": "finding who speaks", "lips": "generating lips"}  # noqa: RUF012

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


def run_one(arguments: argparse.Namespace) -> int:
    """Generate one video and print the report, or only check that it can be generated."""
    video, voices, out = arguments.video_path, chosen_voices(arguments), arguments.video_out_path or DEFAULT_OUT
    executor = segment_executor(arguments)
    probe_ahead(video, *voices.files())
    chosen = ChosenPipeline.of(arguments)  # imports torch
    is_named = arguments.video_out_path is not None
    outputs = LipsyncOutputs.of(out, chosen.options.compare, timeline=chosen.options.timeline, is_named=is_named)
    job = check_job(video, voices, outputs, chosen.options, arguments.temp_dir, chosen.files())
    pipeline = chosen.load()
    print(chosen.describe())
    if arguments.dry_run:
        print(description(job))
        print("1 of 1 can begin; nothing was written")
        return 0
    first, second = (None, None) if executor is None else chosen.pass_workers(executor, arguments.num_workers)
    files = video, voices, out, chosen.options, arguments.temp_dir
    with closing(FrameBars()) as bars:
        report = pipeline(*files, progress=bars, first_pass=first, second_pass=second)
    print("\n".join(report.lines()))
    if chosen.weights.is_demo and video != DEMO_VIDEO:
        print("the demo weights are trained on synthetic people only: on a real face the mouth looks artificial")
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Generate the missing videos of a list and print a summary; return 1 if one failed."""
    from latentsync.recipes.list_maker import ListMaker  # imports torch, which --help does without
    from latentsync.recipes.list_run import make_all

    executor = WORKERS.build(arguments)
    maker = ListMaker(
        arguments, on_load=lambda choice: print(choice.describe()), open_progress=lambda: closing(FrameBars())
    )
    named = (
        arguments.video_path,
        arguments.audio_path,
        arguments.video_out_path,
        arguments.face_audio,
        arguments.sound,
    )
    if named != (DEMO_VIDEO, DEMO_AUDIO, None, None, None):
        raise InputError("a list names its files: leave --{video,audio,video_out}_path, --face_audio and --sound out")
    jobs = read_jobs(arguments.list, maker.default.options, maker.default.files())
    if arguments.dry_run:
        return check_list(jobs, maker)
    maker.prepare(jobs)
    progress, outcomes = ListProgress(len(jobs)), dict[int, Outcome]()
    with closing(make_all({index: jobs[index] for index in working_order(jobs)}, maker, executor)) as ended:
        for index, outcome in ended:
            outcomes[index] = outcome
            print(progress.line(outcome), flush=True)
    print("\n".join(summary([outcomes[index] for index in range(len(jobs))])))
    return EXIT_SOME_FAILED if any(outcome.error is not None for outcome in outcomes.values()) else 0


def check_list(jobs: Sequence[VideoJob], maker: ListMaker) -> int:
    """Print for each job of a list whether it can start, and build the pipelines; return 1 if one cannot."""
    choices = {choice.weights: choice for choice in map(maker.choice_of, jobs)}
    num_faults = 0
    for job in jobs:
        try:
            print(description(maker.check(job)))
        except LatentSyncError as error:
            num_faults += 1
            print(f"{job.result}: {one_line(error)}")
    for choice in choices.values():
        maker.load(choice)
    print(f"{len(jobs) - num_faults} of {len(jobs)} can begin; nothing was written")
    return EXIT_SOME_FAILED if num_faults else 0


def description(job: CheckedJob) -> str:
    """Return a line of a dry run: inputs and output of a job."""
    video = job.video
    size = f"{video.width} x {video.height}, {float(video.fps):g} fps, {video.duration_s:.1f} s"
    speech = ", ".join(f"{audio.path} ({audio.duration_s:.1f} s)" for audio in job.speeches)
    return f"{job.outputs.video}: from {video.path} ({size}) and {speech}"


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
