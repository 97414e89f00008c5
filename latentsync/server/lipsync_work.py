"""The work of the service: lip-sync jobs with one loaded pipeline."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from latentsync.errors import InputError
from latentsync.jobs.job import Job
from latentsync.jobs.limits import Limits
from latentsync.pipelines.lipsync_job import LipsyncJob
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.people import Person
from latentsync.pipelines.voices import Voices
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline, check_silence

RESULT = "result.mp4"
"""Name of the result in the folder of a job."""
INPUT = "input"
"""Folder of the inputs in the folder of a job; removed when the job is done."""
_TEMPORARY = "work"


class Work(Protocol):
    """What a service does with its jobs.

    Attributes:
        limits: of a job.
        defaults: options that a request can change.
    """

    limits: Limits
    defaults: LipsyncOptions

    def check(self, video: Path, audio: Path, options: LipsyncOptions) -> None:
        """Raise LatentSyncError for inputs that cannot be used, before the job is queued."""
        ...

    def __call__(self, job: Job) -> Mapping[str, Any]:
        """Write `RESULT` into the folder of a job, and return its properties as JSON.

        The request of the job has ``video`` and ``audio``, paths relative to the folder, and ``options``.
        """
        ...


@dataclass
class LipsyncWork:
    """Lip-sync with a loaded pipeline; a `Work`.

    Attributes:
        pipeline: used by one job at a time.
        limits: of a job.
        defaults: options that a request can change.
    """

    pipeline: LipsyncPipeline
    limits: Limits
    defaults: LipsyncOptions

    @classmethod
    def load(
        cls, build: LipsyncBuild, limits: Limits, vae_batch_size: int, concurrent_stages: bool = False
    ) -> "LipsyncWork":
        """Load all networks.

        Args:
            build: settings that the pipeline is built from.
            limits: limits of a job.
            vae_batch_size, concurrent_stages: see `LipsyncOptions`; of every job.

        Raises:
            LatentSyncError: weights are missing or do not fit, or an option is out of range.
        """
        options = build.default_options(preset=build.default_preset)
        steps = min(options.num_inference_steps, limits.max_steps)
        device = {"vae_batch_size": vae_batch_size, "concurrent_stages": concurrent_stages}
        defaults = replace(options, num_inference_steps=steps, **device)
        return cls(build_pipeline(build), limits, defaults)

    def check(self, video: Path, audio: Path, options: LipsyncOptions) -> None:
        """Check inputs and options against the limits.

        Raises:
            LatentSyncError: an input or option cannot be used.
        """
        self.limits.check_steps(options)
        self.pipeline.check_options(options)
        check_silence(options)
        self.limits.check_files(video, Voices.of_selected(options.face, audio), options)

    def __call__(self, job: Job) -> dict[str, Any]:
        """Generate the video of a job.

        Raises:
            LatentSyncError: the inputs cannot be used.
            JobStopped: the job was cancelled.
        """
        options = replace(self.defaults, **job.request["options"])
        voices = Voices.of_selected(options.face, job.folder / job.request["audio"])
        temporary = job.folder / _TEMPORARY
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
        report = self.pipeline(
            *(job.folder / job.request["video"], voices, job.folder / RESULT, options),
            temp_dir=temporary,
            progress=job.report,
            people_callback=self._check_people,
        )
        shutil.rmtree(temporary, ignore_errors=True)
        if report.num_synced == 0:
            raise InputError("no frame has a face that can be used: choose another face, or another video")
        return {
            "duration_seconds": round(report.num_frames / report.fps, 3),
            "fps": float(report.fps),
            "num_frames": report.num_frames,
            "num_synced_frames": report.num_synced,
        }

    def _check_people(self, opened: LipsyncJob, people: Sequence[Person]) -> None:
        self.limits.check_people(len(people), opened.num_frames)
