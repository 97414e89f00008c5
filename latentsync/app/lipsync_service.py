"""The work behind the page, independent of gradio: loaded networks, and jobs that visitors start and follow."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from latentsync.app.adapt_service import AdaptedPipelines, AdaptOutcome, AdaptRequest, AdaptService
from latentsync.app.app_folders import AppFolders
from latentsync.app.lipsync_request import LIPSYNC, AdaptedWeights, LipsyncRequest, mask_video
from latentsync.app.page_text import options_line, summary_text
from latentsync.app.people import FRAMES_PER_SECOND, Person, find_people
from latentsync.app.speech_uploads import SpeechUploads, required
from latentsync.app.sync_comparison import (
    MAX_SECONDS,
    FaceCollector,
    NamedSyncScorer,
    SyncComparison,
    compare_sync,
    load_scorer,
    spoken_frames,
)
from latentsync.errors import CheckpointError, InputError
from latentsync.face.describer import DescriberChoice
from latentsync.face.xseg import require_xseg
from latentsync.jobs.job import PAGE, Job, JobView, Work
from latentsync.jobs.limits import Limits
from latentsync.jobs.queue import JobQueue
from latentsync.jobs.store import JobStoreError
from latentsync.jobs.visible_text import error_line
from latentsync.media.probe import probe_video
from latentsync.models.batch_size import BATCH_SIZE
from latentsync.pipelines.lipsync_job import LipsyncJob
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.occluders import check_occluder
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.people import Person as DubbedPerson
from latentsync.pipelines.person_stages import person_intervals
from latentsync.pipelines.presets import PRESETS
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.speaker_pass import load_speaker_network
from latentsync.pipelines.timeline import write_timeline
from latentsync.pipelines.voices import Voices
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline, check_silence

SERVER_WEIGHTS = "server"
"""Choice of the weights that the server was started with."""
POLL_SECONDS = 0.25
"""Interval at which a page polls its job."""


@dataclass(frozen=True)
class LipsyncOutcome:
    """Result of a finished lip-sync job.

    Attributes:
        video, comparison, sheet, summary: files in the folder of the job.
        sync: sync before and after.
        lines: report of the job.
        timeline: image of what was done when, in the same folder; None if nothing but one person was to be drawn.
    """

    video: Path
    comparison: Path
    sheet: Path
    summary: Path
    sync: SyncComparison
    lines: list[str]
    timeline: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All files."""
        return [self.video, self.comparison, self.sheet, self.summary, *([self.timeline] if self.timeline else [])]

    def record(self) -> dict[str, Any]:
        """Return the result as JSON; files by their names."""
        return {"files": [path.name for path in self.files], "sync": self.sync.record(), "lines": self.lines}

    @classmethod
    def of(cls, folder: Path, record: Mapping[str, Any]) -> "LipsyncOutcome":
        """Return the result of a `record` of the job in a folder."""
        video, comparison, sheet, summary, *others = (folder / name for name in record["files"])
        sync, lines = SyncComparison.of(record["sync"]), list(record["lines"])
        return cls(video, comparison, sheet, summary, sync, lines, others[0] if others else None)


@dataclass(frozen=True)
class LipsyncService:
    """The pipeline, loaded once, and the settings that all jobs share.

    Attributes:
        pipeline: used by one job at a time.
        scorer: sync scorer; None if its weights are missing.
        defaults: default options.
        weights: description of the weights for the page.
        limits: limits of a job.
        preset: preset of `defaults`, or None.
        presets: default options with the sampling of each preset.
        vae: loaded VAE, ``full`` or ``tiny``.
        adapted: loads weights that visitors adapted; None: only those of the server can be used.
        finds_occluders: XSeg is on this machine, and finds things before faces.
    """

    pipeline: LipsyncPipeline
    scorer: NamedSyncScorer | None
    defaults: LipsyncOptions
    weights: str
    limits: Limits
    preset: str | None = None
    presets: Mapping[str, LipsyncOptions] = field(default_factory=dict)
    vae: str = "full"
    adapted: AdaptedPipelines | None = None
    finds_occluders: bool = False

    @classmethod
    def load(
        cls,
        build: LipsyncBuild,
        weights: str,
        limits: Limits,
        vae_batch_size: int = BATCH_SIZE,
        concurrent_stages: bool = False,
    ) -> "LipsyncService":
        """Load all networks.

        Args:
            build: settings that the pipeline is built from.
            weights: description of the weights for the page.
            limits: limits of a job.
            vae_batch_size, concurrent_stages: see `LipsyncOptions`; of every job.

        Raises:
            InputError: weights are missing or do not fit.
            ConfigError: vae_batch_size is out of range.
        """
        preset = build.default_preset

        def limited(name: str | None) -> LipsyncOptions:
            options = build.default_options(preset=name)
            steps = min(options.num_inference_steps, limits.max_steps)
            return replace(
                options,
                num_inference_steps=steps,
                compare=True,
                vae_batch_size=vae_batch_size,
                concurrent_stages=concurrent_stages,
            )

        presets = {name: limited(name) for name in PRESETS}
        pipeline, scorer = build_pipeline(build), load_scorer(build.device)
        sampling = (limited(preset), weights, limits, preset, presets)
        return cls(pipeline, scorer, *sampling, build.vae, AdaptedPipelines(build), _has_xseg())

    def check(self, video: Path, voices: Voices, options: LipsyncOptions) -> None:
        """Check inputs and options against the limits before the work starts.

        With `EVERYONE` the number of people is checked when they are found.

        Raises:
            InputError: an input exceeds a limit, cannot be read, or does not fit the others.
            CheckpointError: the weights of an option are missing.
        """
        self.limits.check_steps(options)
        if options.exact and self.vae != "full":
            raise InputError(f"this server has loaded the {self.vae} VAE, which contradicts exact")
        if options.exact:
            voices.check_exact()
        self.pipeline.check_options(options)
        check_silence(options)
        info = self.limits.check_files(video, voices, options)
        if (masks := mask_video(options)) is not None:
            self.limits.check_video(masks)
        fps = info.fps if options.video_fps == "source" else Fraction(FRAMES_PER_SECOND)
        check_occluder(options.occluder, info, fps)

    def lipsync(
        self, video: Path, voices: Voices, options: LipsyncOptions, adapted: AdaptedWeights | None = None
    ) -> Callable[[Job], LipsyncOutcome]:
        """Return the work of a lip-sync job, with the weights of the server or with adapted ones."""

        def work(job: Job) -> LipsyncOutcome:
            shutil.rmtree(job.folder / "work", ignore_errors=True)  # of a process that was killed
            pipeline, weights = self.pipeline, self.weights
            if adapted is not None and self.adapted is not None:
                pipeline, weights = self.adapted.of(adapted.folder), adapted.name
            fps = probe_video(video).fps if options.video_fps == "source" else pipeline.model_fps
            faces = FaceCollector(pipeline.resolution, round(MAX_SECONDS * fps), pipeline.device)
            out = job.folder / "lipsync.mp4"
            chosen = replace(
                options,
                compare=True,
                timeline=False,
                vae_batch_size=self.defaults.vae_batch_size,
                concurrent_stages=self.defaults.concurrent_stages,
            )

            def on_people(opened: LipsyncJob, people: Sequence[DubbedPerson]) -> None:
                self.limits.check_people(len(people), opened.num_frames)
                if len(people) > 1:
                    faces.take_only(spoken_frames(opened, people[0], person_intervals(opened, people[0])))

            report = pipeline(
                *(video, voices, out, chosen),
                temp_dir=job.folder / "work",
                progress=job.report,
                frame_callback=faces,
                people_callback=on_people,
            )
            job.report("sync", 0, 1)
            sync = compare_sync(
                *(self.scorer, faces, report.fps, voices.speeches[0], job.folder),
                check=lambda: job.report("sync", 0.5, 1),
            )
            shutil.rmtree(job.folder / "work", ignore_errors=True)
            named = _with_names(report, job)
            names = [voice.face for voice in voices.voices]
            lines = [
                *named.lines()[1:],
                f"weights: {weights}",
                options_line(_with_name(options, job), names),
            ]
            if len(report.people) > 1:
                lines.append(f"the sync is that of face {report.people[0].name} with {_name(voices.speeches[0], job)}")
            comparison, sheet = report.extra_files
            summary = job.folder / "summary.txt"
            summary.write_text(summary_text(sync, lines), encoding="utf-8")
            timeline = job.folder / "lipsync_timeline.png" if _has_parts(report) else None
            if timeline is not None:
                write_timeline(named.people, report.num_frames, report.fps, timeline)
            return LipsyncOutcome(report.video, comparison, sheet, summary, sync, lines, timeline)

        return work

    def people(self, video: Path) -> Callable[[Job], list[tuple[Person, Path]]]:
        """Return the work of a job that finds the people of a video."""
        max_frames = round(self.limits.max_seconds * FRAMES_PER_SECOND)

        def work(job: Job) -> list[tuple[Person, Path]]:
            detector = self.pipeline.detector
            network = self.pipeline.speaker_network or partial(load_speaker_network, self.pipeline.device)
            return find_people(
                *(video, detector, job.folder, max_frames),
                lambda done, n: job.report("people", done, n),
                network,
                DescriberChoice(device=str(self.pipeline.device)),
            )

        return work


@dataclass(frozen=True)
class LipsyncJobs:
    """Checks and work of lip-sync jobs; a call does a job of an earlier process.

    Attributes:
        service: does the work.
        folders: stores the files.
    """

    service: LipsyncService
    folders: AppFolders

    def __call__(self, job: Job) -> LipsyncOutcome:
        """Do a job that was recorded. Raises InputError if its files cannot be used."""
        return self.prepare(job, LipsyncRequest.of(job.request))(job)

    def prepare(self, job: Job, request: LipsyncRequest) -> Work:
        """Bring the uploads into the folder of a job and check them; return the work.

        Raises:
            InputError: an upload was removed, or cannot be used.
        """
        options = request.options
        files = {stem: self.folders.adopt(path, job.folder, stem) for stem, path in request.uploads().items()}
        voices = request.speech.voices(options.face, files)
        chosen = replace(options, occluder=str(files["occluder"])) if "occluder" in files else options
        self.service.check(files["video"], voices, chosen)
        return self.service.lipsync(files["video"], voices, chosen, request.adapted)


@dataclass
class Sessions:
    """Jobs of all visitors: start them and follow their progress.

    Attributes:
        service: does the work.
        queue: runs the jobs.
        folders: stores the files.
        grace_seconds: a job that no page has polled for this time is stopped.
        adapter: adapts weights to people; None: this server does not.
    """

    service: LipsyncService
    queue: JobQueue
    folders: AppFolders
    grace_seconds: float = 30.0
    adapter: AdaptService | None = None

    def start_lipsync(
        self, video: Path | None, speech: SpeechUploads, options: LipsyncOptions, weights: str = SERVER_WEIGHTS
    ) -> Job:
        """Add a lip-sync job to the queue, which checks its files before it runs.

        Args:
            video: upload.
            speech: uploads with the sound.
            options: of the pipeline; masks of occluders are an upload.
            weights: `SERVER_WEIGHTS`, or the id of a finished adaptation.

        Raises:
            InputError: a file is missing, selectors contradict each other, the adaptation is not there, or the queue
                is full.
        """
        outcome = None if weights == SERVER_WEIGHTS else self.adaptation(weights)
        adapted = None if outcome is None else AdaptedWeights(outcome.folder, outcome.name)
        request = LipsyncRequest(required(video, "video"), speech, options, adapted)
        uploads = request.uploads()
        speech.voices(options.face, uploads)  # before a file is copied
        jobs = LipsyncJobs(self.service, self.folders)
        return self._submit(lambda job: jobs.prepare(job, request), uploads, LIPSYNC, request.record())

    def find(self, job_id: str) -> Job | None:
        """Return a job, or a finished lip-sync of an earlier process; None if it is unknown."""
        if (job := self.queue.find(job_id)) is not None:
            return job
        record = self.folders.store.get(job_id)
        if record is None or record.kind != LIPSYNC or record.result is None or not record.has_files:
            return None
        folder = self.folders.of(record.id)
        ended = Job(record.id, folder, None, kind=record.kind, request=record.request)
        seconds = (record.ended or 0.0) - (record.started or 0.0)
        ended.restore(record.state, LipsyncOutcome.of(folder, record.result), seconds)
        return ended

    def start_adapt(self, video: Path | None, request: AdaptRequest) -> Job:
        """Add an adaptation to the queue; see `start_lipsync`."""
        upload, adapter = required(video, "video"), self.adapter
        if adapter is None:
            raise InputError("this server adapts no weights")

        def prepare(job: Job) -> Work:
            settings = adapter.settings(self.folders.adopt(upload, job.folder, "video"), job.folder, request)
            return adapter.adapt(settings, upload.stem)

        return self._submit(prepare, {"video": upload})

    def adaptation(self, job_id: str) -> AdaptOutcome:
        """Return a finished adaptation.

        Raises:
            InputError: it is unknown, or its files were removed.
        """
        job = self.queue.find(job_id)
        if job is None or not isinstance(job.result, AdaptOutcome) or not job.result.folder.is_dir():
            raise InputError("these adapted weights are not on the server any more: adapt again, or choose others")
        return job.result

    def start_people(self, video: Path | None) -> Job:
        """Add a job that finds the people of a video; see `start_lipsync`."""
        upload = required(video, "video")

        def prepare(job: Job) -> Work:
            file = self.folders.adopt(upload, job.folder, "video")
            self.service.limits.check_video(file)
            return self.service.people(file)

        return self._submit(prepare, {"video": upload})

    async def follow(self, job: Job) -> AsyncGenerator[JobView, None]:
        """Yield the view of a job whenever it changes, until the job has ended."""
        last: JobView | None = None
        while True:
            view = self.queue.view(job)
            if last is None or _without_clock(view) != _without_clock(last):
                yield view
                last = view
            if view.state.is_over:
                return
            await asyncio.sleep(POLL_SECONDS)

    def _submit(
        self,
        prepare: Callable[[Job], Work],
        uploads: dict[str, Path],
        kind: str = PAGE,
        request: Mapping[str, Any] | None = None,
    ) -> Job:
        try:
            folder = self.folders.new(kind)
        except (OSError, JobStoreError) as error:
            raise InputError(error_line(error, {})) from error
        adopted = {self.folders.adopted_path(path, folder, stem): path.name for stem, path in uploads.items()}
        names = {**adopted, **{path: path.name for path in uploads.values()}, folder: "the job's folder"}
        job = Job(*(folder.name, folder, None, prepare, names, self.grace_seconds), kind=kind, request=request or {})
        self.queue.submit(job)
        return job


def _name(path: Path, job: Job) -> str:
    return job.names.get(path, path.name)


def _with_name(options: LipsyncOptions, job: Job) -> LipsyncOptions:
    """Return the options with the masks as the visitor named them."""
    masks = mask_video(options)
    return options if masks is None else replace(options, occluder=_name(masks, job))


def _has_parts(report: LipsyncReport) -> bool:
    """Return True if there are several people, or parts of one that a timeline shows."""
    return len(report.people) > 1 or any(person.absent or any(person.spans.values()) for person in report.people)


def _has_xseg() -> bool:
    try:
        require_xseg()
    except CheckpointError:
        return False
    return True


def _with_names(report: LipsyncReport, job: Job) -> LipsyncReport:
    """Return the report with the speech files as the visitor named them."""
    return replace(report, people=[replace(person, speech=Path(_name(person.speech, job))) for person in report.people])


def _without_clock(view: JobView) -> JobView:
    """Return the view without its running time, so that nothing is sent while nothing changes."""
    return replace(
        view, seconds_running=0.0, seconds_left=None if view.seconds_left is None else round(view.seconds_left)
    )
