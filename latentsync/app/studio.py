"""What the app can do with files: the loaded pipeline, the judge, and the two kinds of job."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from latentsync.app.job import Job
from latentsync.app.limits import Limits
from latentsync.app.people import FRAMES_PER_SECOND, Person, find_people
from latentsync.app.summary import options_line, summary_text
from latentsync.app.sync_verdict import MAX_SECONDS, FaceCollector, SyncJudge, SyncVerdict, build_judge, judge_sync
from latentsync.errors import CheckpointError, InputError
from latentsync.media.probe import probe_video
from latentsync.models.vae import BATCH_SIZE
from latentsync.pipelines.lipsync_pipeline import NO_EXACT_DETECTOR, LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline

STAGES = {
    "faces": "finding the face",
    "lips": "painting lips",
    "sync": "judging the sync",
    "people": "looking for people",
}
"""What the page calls the stages of jobs."""


@dataclass(frozen=True)
class LipsyncOutcome:
    """What a finished job made.

    Attributes:
        video, comparison, sheet, summary: files of the job's folder.
        verdict: sync before and after.
        lines: what the run did.
    """

    video: Path
    comparison: Path
    sheet: Path
    summary: Path
    verdict: SyncVerdict
    lines: list[str]


@dataclass(frozen=True)
class Studio:
    """The pipeline, loaded once, and everything that is the same for all jobs.

    Attributes:
        pipeline: used by one job at a time.
        judge: of the sync; None where there are no weights of one.
        defaults: of the options.
        weights: what the page says of the weights.
        limits: what a job may ask for.
    """

    pipeline: LipsyncPipeline
    judge: SyncJudge | None
    defaults: LipsyncOptions
    weights: str
    limits: Limits

    @classmethod
    def load(cls, build: LipsyncBuild, weights: str, limits: Limits, vae_batch_size: int = BATCH_SIZE) -> "Studio":
        """Loads every network.

        Args:
            build: what the pipeline is built from.
            weights: what the page says of the weights.
            limits: what a job may ask for.
            vae_batch_size: images that go through the VAE at once, in every job.

        Raises:
            InputError: weights are missing or do not fit.
            ConfigError: vae_batch_size is out of range.
        """
        options = build.default_options()
        steps = min(options.num_inference_steps, limits.max_steps)
        defaults = replace(options, num_inference_steps=steps, compare=True, vae_batch_size=vae_batch_size)
        pipeline = build_pipeline(build)
        return cls(pipeline, build_judge(build.device), defaults, weights, limits)

    def check(self, video: Path, speech: Path, options: LipsyncOptions) -> None:
        """Refuses what is over the limits or cannot be read, before any work.

        Raises:
            InputError: the one line says why.
        """
        if options.num_inference_steps > self.limits.max_steps:
            raise InputError(f"inference_steps is {options.num_inference_steps}: {self.limits.max_steps} are the most")
        if options.exact and self.pipeline.exact_detector is None:
            raise CheckpointError(NO_EXACT_DETECTOR)
        info = self.limits.check_video(video)
        seconds = self.limits.check_speech(speech)
        self.limits.check_frames(info, seconds, options.video_fps)

    def lipsync(self, video: Path, speech: Path, options: LipsyncOptions) -> Callable[[Job], LipsyncOutcome]:
        """The work of a job that makes `video` say `speech`."""

        def work(job: Job) -> LipsyncOutcome:
            fps = probe_video(video).fps if options.video_fps == "source" else self.pipeline.model_fps
            faces = FaceCollector(self.pipeline.resolution, round(MAX_SECONDS * fps), self.pipeline.device)
            out = job.folder / "lipsync.mp4"
            chosen = replace(options, compare=True, vae_batch_size=self.defaults.vae_batch_size)
            report = self.pipeline(
                *(video, speech, out, chosen),
                temp_dir=job.folder / "work",
                progress=job.report,
                frame_callback=faces,
            )
            job.report("sync", 0, 1)
            verdict = judge_sync(
                *(self.judge, faces, report.fps, speech, job.folder), check=lambda: job.report("sync", 0.5, 1)
            )
            shutil.rmtree(job.folder / "work", ignore_errors=True)
            lines = [*report.lines()[1:], f"weights: {self.weights}", options_line(options)]
            comparison, sheet = report.extra_files
            summary = job.folder / "summary.txt"
            summary.write_text(summary_text(verdict, lines), encoding="utf-8")
            return LipsyncOutcome(report.video, comparison, sheet, summary, verdict, lines)

        return work

    def people(self, video: Path) -> Callable[[Job], list[tuple[Person, Path]]]:
        """The work of a job that looks for people."""
        most = round(self.limits.max_seconds * FRAMES_PER_SECOND)

        def work(job: Job) -> list[tuple[Person, Path]]:
            detector = self.pipeline.detector
            return find_people(video, detector, job.folder, most, lambda done, n: job.report("people", done, n))

        return work
