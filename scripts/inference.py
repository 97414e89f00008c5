"""Makes the lips of a person in a video follow a speech file: ``python -m scripts.inference --help``."""

import argparse
import logging
import math
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from tqdm import tqdm

from latentsync.cli import EXIT_SOME_FAILED, OneLineParser, one_line, run_command
from latentsync.device import resolve_device, resolve_dtype
from latentsync.errors import LatentSyncError
from latentsync.pipelines.job_check import CheckedJob, check_job
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import SCHEDULERS, VIDEO_FPS, LipsyncOptions
from latentsync.pipelines.output_files import OutputFiles
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.video_maker import VideoMaker, VideoTask
from latentsync.recipes.lipsync import (
    LipsyncBuild,
    build_pipeline,
    check_exact,
    choose_weights,
    default_options,
    result_settings,
)
from latentsync.recipes.video_list import make_list, read_tasks, summary, task_outputs
from latentsync.weights import REPOSITORY_ROOT

DEEPCACHE_INTERVAL = 3
DEFAULTS = LipsyncOptions()
DEMO_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
DEMO_AUDIO = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"


def build_parser() -> argparse.ArgumentParser:
    """The command line; flags of the published script keep their names."""
    parser = OneLineParser(prog="inference.sh", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    files = parser.add_argument_group("files")
    files.add_argument("--video_path", type=Path, default=DEMO_VIDEO, help="the person (default: the demo's)")
    files.add_argument("--audio_path", type=Path, default=DEMO_AUDIO, help="the speech (default: the demo's)")
    files.add_argument("--video_out_path", type=Path, default=Path("video_out.mp4"), help="the result")
    files.add_argument("--list", type=Path, help="CSV with video_path,audio_path,video_out_path: one job a line")
    files.add_argument("--temp_dir", type=Path, help="where temporary files go (default: the system's place)")
    files.add_argument("--compare", action="store_true", help="also write source and result side by side")
    files.add_argument("--dry_run", action="store_true", help="check files, weights and options, and stop")
    weights = parser.add_argument_group("weights (default: the published ones if they are here, else the demo ones)")
    weights.add_argument("--unet_config_path", type=Path, help="e.g. configs/unet/stage2_512.yaml")
    weights.add_argument("--inference_ckpt_path", type=Path, help="e.g. checkpoints/latentsync_unet.pt")
    add("--inference_steps", type=int, help="denoising steps (default: the configuration's)")
    add("--guidance_scale", type=number, help="weight of the audio, 1 to 20 (default: the configuration's)")
    add("--seed", type=int, default=DEFAULTS.seed, help="of the noise (default: %(default)s)")
    add("--scheduler", choices=SCHEDULERS, default=DEFAULTS.scheduler)
    add("--enable_deepcache", action="store_true", help=f"run deep layers at every {DEEPCACHE_INTERVAL}rd step only")
    add("--overlap_frames", type=int, help=f"shared by windows (default: {DEFAULTS.overlap_frames}, with --exact 0)")
    add("--batch_size", type=int, default=DEFAULTS.batch_windows, help="windows at once (default: %(default)s)")
    add("--vae_batch_size", type=int, default=DEFAULTS.vae_batch_size, help="VAE images at once (default: %(default)s)")
    add("--video_fps", choices=VIDEO_FPS, default=DEFAULTS.video_fps, help="frames per second (default: %(default)s)")
    add("--crf", type=int, default=DEFAULTS.crf, help="quality of the encode, less is better (default: %(default)s)")
    add("--face", default=DEFAULTS.face, help="largest, left, right, an index from the left, or x,y")
    add("--detector", choices=("auto", "mtcnn", "face_alignment"), default="auto")
    add("--exact", action="store_true", help="the published behaviour wherever the default differs")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add("--debug", action="store_true", help="show where an error came from")
    return parser


def number(text: str) -> float:
    """A finite number of the command line."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


class FrameBars:
    """Two progress bars with time left: for finding the face and for painting lips."""

    TITLES = {"faces": "finding the face", "lips": "painting lips"}  # noqa: RUF012

    def __init__(self) -> None:
        # A signal that stops the run may arrive inside tqdm. Its own lock is two locks taken one after the other in
        # Python, and would stay half taken then: closing the bars waited for ever. One lock in C is taken or not.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._bars: dict[str, tqdm] = {}

    def __call__(self, stage: str, done: float, total: int) -> None:
        """Moves the bar of a stage forwards."""
        if stage not in self._bars:
            self.close()
            shape = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} frames [{elapsed}<{remaining}]"
            self._bars[stage] = tqdm(total=total, desc=self.TITLES[stage], bar_format=shape)
        bar = self._bars[stage]
        bar.total = total
        bar.update(max(0.0, done - bar.n))

    def close(self) -> None:
        """Leaves the bars as they are."""
        for bar in self._bars.values():
            bar.close()


@dataclass(frozen=True)
class Chosen:
    """What the command line chose: the parts of the pipeline, the options, and a line that says which weights."""

    build: LipsyncBuild
    options: LipsyncOptions
    weights: str

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Chosen":
        """Checks everything that needs no network."""
        build, weights = chosen_build(arguments)
        options = chosen_options(arguments, build.config)
        check_exact(build, options)
        return cls(build, options, weights)

    def load(self) -> LipsyncPipeline:
        """Builds the pipeline and says on what it runs."""
        pipeline = build_pipeline(self.build)
        mode = "; exact" if self.options.exact else ""
        dtype = str(self.build.dtype).removeprefix("torch.")
        print(f"weights: {self.weights}; device: {self.build.device}, {dtype}{mode}")
        return pipeline

    def files(self) -> list[Path]:
        """What is read besides the jobs' inputs."""
        return [self.build.config, self.build.unet]


def chosen_build(arguments: argparse.Namespace) -> tuple[LipsyncBuild, str]:
    """What the pipeline is built from, and a line that says which weights these are."""
    config, unet, weights = choose_weights(arguments.unet_config_path, arguments.inference_ckpt_path)
    device = resolve_device(arguments.device)
    return LipsyncBuild(config, unet, device, resolve_dtype(arguments.dtype, device), arguments.detector), weights


def chosen_options(arguments: argparse.Namespace, config: Path) -> LipsyncOptions:
    """The options; steps and guidance that are not given are the configuration's."""
    return replace(
        default_options(config, arguments.inference_steps, arguments.guidance_scale),
        seed=arguments.seed,
        scheduler=arguments.scheduler,
        deepcache_interval=DEEPCACHE_INTERVAL if arguments.enable_deepcache else 1,
        overlap_frames=chosen_overlap(arguments.overlap_frames, arguments.exact),
        batch_windows=arguments.batch_size,
        vae_batch_size=arguments.vae_batch_size,
        video_fps=arguments.video_fps,
        crf=arguments.crf,
        face=arguments.face,
        compare=arguments.compare,
        exact=arguments.exact,
    )


def chosen_overlap(overlap_frames: int | None, exact: bool) -> int:
    """Frames that windows share where the user names no number; published windows share none."""
    if overlap_frames is not None:
        return overlap_frames
    return 0 if exact else DEFAULTS.overlap_frames


def run_one(arguments: argparse.Namespace) -> int:
    """Makes one video and prints the report, or only checks that it can be made."""
    chosen = Chosen.of(arguments)
    video, audio, out = arguments.video_path, arguments.audio_path, arguments.video_out_path
    outputs = OutputFiles.of(out, chosen.options.compare)
    job = check_job(video, audio, outputs, chosen.options.video_fps, arguments.temp_dir, chosen.files())
    pipeline = chosen.load()
    if arguments.dry_run:
        print(described(job))
        print("1 of 1 can begin; nothing was written")
        return 0
    report = make_video(pipeline, chosen.options, arguments.temp_dir, video, audio, out)
    print("\n".join(report.lines()))
    if chosen.weights.startswith("demo") and video != DEMO_VIDEO:
        print("the demo weights know only synthetic people: on a real face the moving mouth looks painted")
    return 0


def run_list(arguments: argparse.Namespace) -> int:
    """Makes the videos of a list that are missing, and prints what became of each; 1 where one failed."""
    chosen = Chosen.of(arguments)
    tasks = read_tasks(arguments.list, chosen.options.compare, chosen.files())

    def check(task: VideoTask) -> CheckedJob:
        outputs = task_outputs(task, chosen.options.compare)
        fps = chosen.options.video_fps
        return check_job(task.video, task.audio, outputs, fps, arguments.temp_dir, chosen.files())

    if arguments.dry_run:
        return check_list(tasks, check, chosen)
    load = cache(lambda: partial(make_video, chosen.load(), chosen.options, arguments.temp_dir))
    maker = VideoMaker(result_settings(chosen.build, chosen.options), load, check)
    outcomes = []
    for number, outcome in enumerate(make_list(tasks, maker), start=1):
        outcomes.append(outcome)
        print(f"{number} of {len(tasks)}: {outcome.task.result}: {outcome.error or 'done'}", flush=True)
    print("\n".join(summary(outcomes)))
    return EXIT_SOME_FAILED if any(outcome.error is not None for outcome in outcomes) else 0


def check_list(tasks: Sequence[VideoTask], check: Callable[[VideoTask], CheckedJob], chosen: Chosen) -> int:
    """Says of each job of a list whether it can begin, and builds the pipeline; 1 where one cannot."""
    faults = 0
    for task in tasks:
        try:
            print(described(check(task)))
        except LatentSyncError as error:
            faults += 1
            print(f"{task.result}: {one_line(error)}")
    chosen.load()
    print(f"{len(tasks) - faults} of {len(tasks)} can begin; nothing was written")
    return EXIT_SOME_FAILED if faults else 0


def described(job: CheckedJob) -> str:
    """A line of a dry run: what a job reads and writes."""
    picture, sound = job.video, job.audio
    size = f"{picture.width} x {picture.height}, {float(picture.fps):g} fps, {picture.duration_s:.1f} s"
    return f"{job.outputs.video}: from {picture.path} ({size}) and {sound.path} ({sound.duration_s:.1f} s)"


def make_video(
    pipeline: LipsyncPipeline, options: LipsyncOptions, temp_dir: Path | None, video: Path, audio: Path, out: Path
) -> LipsyncReport:
    """Makes one video under progress bars."""
    bars = FrameBars()
    try:
        return pipeline(video, audio, out, options, temp_dir=temp_dir, progress=bars)
    finally:
        bars.close()


def main(argv: list[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if arguments.debug:
        logging.getLogger("latentsync").setLevel(logging.DEBUG)
    if arguments.list is None:
        return run_command(lambda: run_one(arguments), arguments.debug, "no result was written")
    return run_command(lambda: run_list(arguments), arguments.debug, "the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
