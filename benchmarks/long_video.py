"""Measure one long video in one process and in several workers, and predict more workers from the measured shares.

The demo's video is lengthened back and forth, its speech repeated. Every run has one thread per process. Times are
wall-clock; on a machine with other work, the processor time of all processes shows what cutting itself costs.

Run: python -m benchmarks.long_video [--seconds 40] [--workers 2] [--repeats 1] [--inference_steps 4] [--hours 1]
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.io import wavfile

from latentsync.cli import OneLineParser, run_command
from latentsync.executors.local import LocalExecutor
from latentsync.executors.local_worker import limit_threads
from latentsync.face.face_tracks import track_detections
from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.media.joining import VideoPart, join_videos
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.repeated_reader import RepeatedReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.face_reading import FaceReading, detect_here
from latentsync.pipelines.face_workers import MIN_SEARCHED_FRAMES
from latentsync.pipelines.lipsync_job import LipsyncJob
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.window_stages import JobFrame
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline, choose_weights
from latentsync.recipes.segments import pass_workers
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import REPOSITORY_ROOT

DEMO_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
DEMO_AUDIO = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"
FPS = 25
PREDICTED = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Run:
    """Seconds of one run.

    Attributes:
        faces_s: the first pass, with the start of the workers.
        lips_s: the second pass, with the start of the workers and the joining.
        load_s: loading the networks in a worker, the slowest one; 0 without workers.
        segments_s: from a worker's start to the end of its segment without loading, of the slowest; 0 without workers.
        cpu_s: processor time of the second pass in all processes.
    """

    faces_s: float
    lips_s: float
    load_s: float
    segments_s: float
    cpu_s: float

    @property
    def other_s(self) -> float:
        """Starting processes, and joining."""
        return self.lips_s - self.load_s - self.segments_s


def write_long_inputs(folder: Path, seconds: float) -> tuple[Path, Path]:
    """Write the demo's video and speech, repeated up to a length."""
    video, speech = folder / "video.mp4", folder / "speech.wav"
    num_frames = round(seconds * FPS)
    with VideoReader(DEMO_VIDEO, Fraction(FPS)) as reader:
        num_source_frames = sum(1 for _ in reader)
    with (
        RepeatedReader(DEMO_VIDEO, Fraction(FPS), num_source_frames, num_frames, folder) as frames,
        VideoWriter(video, frames.width, frames.height, FPS, crf=12) as writer,
    ):
        for _, frame in frames:
            writer.write(frame)
    with AudioSamples.decode(DEMO_AUDIO, folder) as samples:
        once = samples.read(0, samples.num_samples)
    num_samples = round(seconds * SAMPLE_RATE)
    wavfile.write(speech, SAMPLE_RATE, np.tile(once, -(-num_samples // len(once)))[:num_samples])
    return video, speech


def load_measured(build: LipsyncBuild, folder: Path, device: torch.device) -> LipsyncPipeline:
    """Load the networks of a worker, which writes its seconds into a folder after its segment."""
    started = time.monotonic()
    pipeline = build_pipeline(replace(build, device=device))
    loaded, write = time.monotonic(), pipeline.write

    def measured(job: LipsyncJob, frames: Iterator[JobFrame], first_frame: int = 0) -> list[Path]:
        files = write(job, frames, first_frame)
        seconds = {"load_s": loaded - started, "segment_s": time.monotonic() - loaded, "cpu_s": cpu_seconds()}
        (folder / f"{os.getpid()}.json").write_text(json.dumps(seconds))
        return files

    pipeline.write = measured
    return pipeline


def cpu_seconds() -> float:
    """Return the processor time of this process and of the ended programs that it has started."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(
    pipeline: LipsyncPipeline, build: LipsyncBuild, files: tuple[Path, Path], num_workers: int, folder: Path, steps: int
) -> Run:
    """Generate the video in this process (0 workers), or in workers."""
    folder.mkdir()
    options = replace(build.default_options(), num_inference_steps=steps)
    executor = LocalExecutor(folder, max(1, num_workers), num_threads=1)
    load = partial(load_measured, build, folder)
    faces, lips = pass_workers(build, executor, num_workers)
    faces, lips = replace(faces, min_frames=1), replace(lips, load_pipeline=load)
    before = [cpu_seconds()]
    report = pipeline(
        *(*files, folder / "out.mp4", options),
        people_callback=lambda job, people: before.append(cpu_seconds()),
        first_pass=faces if num_workers else None,
        second_pass=lips if num_workers else None,
    )
    cpu_s = cpu_seconds() - before[-1]
    of_workers = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    slowest = max(of_workers, key=lambda each: each["load_s"] + each["segment_s"], default=None)
    load_s, segments_s = (slowest["load_s"], slowest["segment_s"]) if slowest else (0.0, 0.0)
    cpu_s += sum(each["cpu_s"] for each in of_workers)
    return Run(report.detection_seconds, report.synthesis_seconds, load_s, segments_s, cpu_s)


@dataclass(frozen=True)
class Costs:
    """Seconds per frame, and per worker.

    Attributes:
        faces_s, lips_s: first and second pass in one process, per frame.
        track_s: the part of the first pass that stays in one process, per frame.
        decode_s: decoding a frame of the source: in the first pass those before a worker's part; in the second pass the
            check of seeks decodes all of them twice while workers generate.
        join_s: joining, per frame.
        face_start_s: starting the workers of the first pass and loading their detectors.
        start_s: starting a worker of the second pass, loading its networks and opening the job.
        window_s: the window that is generated twice at a cut.
    """

    faces_s: float
    lips_s: float
    track_s: float
    decode_s: float
    join_s: float
    face_start_s: float
    start_s: float
    window_s: float

    def total_s(self, num_frames: int, num_workers: int) -> float:
        """Return the predicted time of a video."""
        if num_workers == 1:
            return num_frames * (self.faces_s + self.lips_s)
        segment_s = self.start_s + num_frames / num_workers * self.lips_s + self.window_s
        second_pass_s = max(segment_s, 2 * num_frames * self.decode_s) + num_frames * self.join_s
        return self.first_pass_s(num_frames, num_workers) + second_pass_s

    def first_pass_s(self, num_frames: int, num_workers: int) -> float:
        """Return the predicted time of the first pass."""
        num_parts = min(num_workers, num_frames // MIN_SEARCHED_FRAMES)
        if num_parts < 2:
            return num_frames * self.faces_s
        part = num_frames / num_parts
        last_part_s = part * self.faces_s + (num_frames - part) * self.decode_s
        return self.face_start_s + last_part_s + num_frames * self.track_s


def tracking_seconds(pipeline: LipsyncPipeline, video: Path) -> float:
    """Return the seconds per frame of linking the faces of a video."""
    reading = FaceReading.of(probe_video(video), Fraction(FPS), pipeline.detector, None, exact=False)
    with closing(detect_here(reading, pipeline.detector, lambda done, total: None)) as detected:
        batches = list(detected)
    started = time.monotonic()
    found = track_detections(batches, reading.frame_size)
    return (time.monotonic() - started) / found.num_frames


def seconds_per_frame(video: Path, result: Path, num_frames: int) -> tuple[float, float]:
    """Return the seconds per frame of decoding without using the frames, and of joining."""
    started = time.monotonic()
    with VideoReader(video, Fraction(FPS), 1, first_frame=num_frames - 1, seek=False) as reader:
        assert sum(1 for _ in reader) == 1
    decoded = time.monotonic()
    join_videos([VideoPart(result, num_frames)], result.with_name("joined.mp4"), Fraction(FPS), DEMO_AUDIO)
    return (decoded - started) / num_frames, (time.monotonic() - decoded) / num_frames


def table(runs: dict[int, list[Run]], num_frames: int) -> list[str]:
    """Return the measured times as lines of a table in Markdown; medians."""
    names = ("faces_s", "lips_s", "load_s", "segments_s", "other_s", "cpu_s")
    lines = [
        "| workers | first pass s | second pass s | of it loading | segment | start, join | processor s | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone_s = median(run.lips_s for run in runs[0])
    for num_workers, measured in runs.items():
        values = {name: median(getattr(run, name) for run in measured) for name in names}
        cells = [f"{values[name]:.1f}" if num_workers or name[:2] in ("fa", "li", "cp") else "" for name in names]
        who = f"{num_workers}" if num_workers else "this process"
        lines.append(f"| {who} | {' | '.join(cells)} | {alone_s / values['lips_s']:.2f} |")
    return [*lines, f"{num_frames} frames; medians of {len(runs[0])}; load of the machine {os.getloadavg()[0]:.1f}"]


def prediction(costs: Costs, hours: float) -> list[str]:
    """Return the predicted times of a long video as lines of a table in Markdown."""
    num_frames = round(hours * 3600 * FPS)
    alone_s = costs.total_s(num_frames, 1)
    lines = ["| workers | hours | of it first pass | times faster |", "|---|---|---|---|"]
    for num_workers in PREDICTED:
        total_s, faces_s = costs.total_s(num_frames, num_workers), costs.first_pass_s(num_frames, num_workers)
        lines.append(f"| {num_workers} | {total_s / 3600:.2f} | {faces_s / 3600:.2f} | {alone_s / total_s:.1f} |")
    return lines


def build_parser() -> argparse.ArgumentParser:
    """Return the command-line parser."""
    parser = OneLineParser(prog="benchmarks.long_video", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--seconds", type=float, default=40.0, help="length of the video (default: %(default)s)")
    add("--workers", type=int, nargs="+", default=[2], help="numbers of workers (default: 2)")
    add("--repeats", type=int, default=1, help="runs of each kind, in turns (default: %(default)s)")
    add("--inference_steps", type=int, default=4, help="denoising steps (default: %(default)s)")
    add("--hours", type=float, default=1.0, help="length of the predicted video (default: %(default)s)")
    add("--temp_dir", type=Path, help="folder for temporary files (default: that of the system)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        limit_threads(1)
        weights = choose_weights()
        build = LipsyncBuild(weights.unet_config, weights.unet_checkpoint, torch.device("cpu"), torch.float32)
        num_frames = round(arguments.seconds * FPS)
        runs: dict[int, list[Run]] = {num_workers: [] for num_workers in (0, *arguments.workers)}
        with temporary_folder(arguments.temp_dir) as folder:
            files = write_long_inputs(folder, arguments.seconds)
            pipeline = build_pipeline(build)
            for repeat in range(arguments.repeats):
                for num_workers, measured in runs.items():
                    place = folder / f"{num_workers}_{repeat}"
                    measured.append(measure(pipeline, build, files, num_workers, place, arguments.inference_steps))
                    print(num_workers, measured[-1], flush=True)
            track_s = tracking_seconds(pipeline, files[0])
            decode_s, join_s = seconds_per_frame(files[0], folder / "0_0" / "out.mp4", num_frames)
        alone, several = runs[0], runs[arguments.workers[-1]]
        lips_s = median(run.lips_s for run in alone) / num_frames
        faces_s = median(run.faces_s for run in alone) / num_frames
        searched_s = faces_s * num_frames / arguments.workers[-1]
        face_start_s = max(0.0, median(run.faces_s for run in several) - searched_s)
        start_s = median(run.load_s + run.other_s for run in several)
        of_frames = faces_s, lips_s, track_s, decode_s, join_s
        costs = Costs(*of_frames, face_start_s, start_s, pipeline.num_frames * lips_s)
        print("\n".join([*table(runs, num_frames), f"{costs}", *prediction(costs, arguments.hours)]))
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
