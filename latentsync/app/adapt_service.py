"""Adaptations to a person in the app: the work of a job, what a page shows of it, and the use of its weights."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.adaptation.adapt import Adaptation
from latentsync.adaptation.footage import FPS
from latentsync.adaptation.report import SHEET, AdaptationReport
from latentsync.adaptation.settings import AdaptationSettings, check_settings
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.jobs.job import Job
from latentsync.jobs.limits import Limits
from latentsync.pipelines.contact_sheet import NUM_COLUMNS, write_crop_sheet
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.adapted_weights import read_adapted
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline
from latentsync.training.metrics import Row, draw_chart
from latentsync.weights import REPOSITORY_ROOT

CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "adapt.yaml"
NUM_PREVIEWS = 10
"""Previews of a whole training."""
_CHART_EVERY_S = 5.0
"""Drawing takes about 0.2 s of the thread of the training."""
_INTERMEDIATE = ("clips", "cache", "training", "training_decoder")


@dataclass(frozen=True)
class AdaptRequest:
    """What a visitor chooses.

    Attributes:
        minutes: time of the training.
        audio: one of `latentsync.adaptation.audio_modes.AUDIO_MODES`.
        face: face to follow.
    """

    minutes: float = 10.0
    audio: str = "auto"
    face: str = "only"


@dataclass(frozen=True)
class AdaptOutcome:
    """A finished adaptation.

    Attributes:
        folder: with the adapted weights, in the folder of the job.
        name: for the list of weights.
        report: metrics before and after.
    """

    folder: Path
    name: str
    report: AdaptationReport

    @property
    def sheet(self) -> Path:
        """Contact sheet of footage, before and after."""
        return self.folder / SHEET


@dataclass
class TrainingView:
    """What a page shows during a training; a `latentsync.adaptation.observer.Observer`.

    The thread of the training replaces whole values, which threads of pages read.

    Attributes:
        folder: of the previews.
        preview_minutes: minutes of training between two previews.
        clock: returns seconds.
        chart: chart of the loss, or None before the first.
        preview: the newest preview, or None before the first.
    """

    folder: Path
    preview_minutes: float
    clock: Callable[[], float] = time.monotonic
    chart: Path | None = None
    preview: Path | None = None
    _rows: list[Row] = field(default_factory=list)
    _next_chart: float = -math.inf

    def on_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Add a loss; the chart is drawn again from time to time."""
        self._rows.append({"step": step, "split": "train", "loss": metrics["loss"]})
        if self.clock() >= self._next_chart:
            self.chart = draw_chart("loss", self._rows, self.folder / f"loss_{step}.png")
            self._next_chart = self.clock() + _CHART_EVERY_S

    def on_preview(self, step: int, footage: NDArray[np.uint8], generated: NDArray[np.uint8]) -> None:
        """Write a preview: footage above, generated below."""
        columns = np.linspace(0, len(footage) - 1, NUM_COLUMNS).astype(int)
        path = self.folder / f"preview_{step}.png"
        write_crop_sheet([footage[columns], generated[columns]], path)
        self.preview = path


@dataclass(frozen=True)
class AdaptService:
    """Adapts weights to people.

    Attributes:
        run: configuration of the adaptations.
        device: of the training.
        detector: face detector.
        limits: of a job.
    """

    run: AdaptationRun
    device: torch.device
    detector: str
    limits: Limits

    @classmethod
    def load(cls, device: torch.device, detector: str, limits: Limits, config: Path = CONFIG) -> "AdaptService":
        """Read the configuration. Raises ConfigError if it cannot be used."""
        return cls(load_config(config, AdaptationRun), device, detector, limits)

    def settings(self, video: Path, folder: Path, request: AdaptRequest) -> AdaptationSettings:
        """Check the footage and a request against the limits; return the settings of the adaptation.

        Args:
            video: the footage.
            folder: of the job.
            request: of the visitor.

        Raises:
            InputError: the footage cannot be used, or a limit is exceeded.
        """
        if not 0 < request.minutes <= self.limits.max_minutes:
            raise InputError(f"minutes is {request.minutes:g}: it must be above 0, and at most {self._max_minutes}")
        self.limits.check_video(video)
        settings = AdaptationSettings(
            self.run,
            (video,),
            folder / "adapted",
            self.device,
            request.face,
            request.minutes,
            request.audio,
            detector=self.detector,
        )
        check_settings(settings)
        return settings

    @property
    def _max_minutes(self) -> str:
        return f"{self.limits.max_minutes:g}"

    def adapt(self, settings: AdaptationSettings, name: str) -> Callable[[Job], AdaptOutcome]:
        """Return the work of an adaptation.

        Args:
            settings: result of `settings`.
            name: of the person, for the list of weights.
        """

        def work(job: Job) -> AdaptOutcome:
            view = TrainingView(job.folder, settings.minutes / NUM_PREVIEWS)
            job.live = view

            def progress(stage: str, done: float, total: float) -> None:
                if stage == "faces":
                    self._check_length(settings.videos[0], max(done, total))
                if job.must_finish:
                    adaptation.stop_early()
                job.report("footage" if stage == "faces" else stage, done, total)

            adaptation = Adaptation(settings, progress, observer=view)
            report, _ = adaptation()
            assert report is not None  # signals reach only the main thread
            for folder in _INTERMEDIATE:
                shutil.rmtree(settings.out / folder, ignore_errors=True)
            return AdaptOutcome(settings.out, f"{name}, {report.trained}", report)

        return work

    def _check_length(self, video: Path, num_frames: float) -> None:
        if num_frames > self.limits.max_seconds * FPS:
            raise InputError(f"{video} lasts longer than {self.limits.max_seconds:g} s: cut the best part out of it")


@dataclass
class AdaptedPipelines:
    """Pipelines of adapted weights; the last one stays loaded.

    Attributes:
        build: settings of the server's own pipeline.
    """

    build: LipsyncBuild
    _last: tuple[Path, LipsyncPipeline] | None = field(default=None, init=False)

    def of(self, folder: Path) -> LipsyncPipeline:
        """Return the pipeline of a folder of adapted weights.

        Raises:
            CheckpointError: the folder is damaged, or its base weights have changed.
        """
        if self._last is None or self._last[0] != folder:
            self._last = None  # its memory is free before the next one is loaded
            self._last = (folder, build_pipeline(self._build(folder)))
        return self._last[1]

    def options(self, folder: Path) -> LipsyncOptions:
        """Return the default options that are stored with adapted weights."""
        build = self._build(folder)
        return build.default_options(preset=build.default_preset)

    def _build(self, folder: Path) -> LipsyncBuild:
        weights = read_adapted(folder)
        return replace(
            self.build, config=weights.config, unet=weights.checkpoint, decoder=weights.decoder, compile=False
        )
