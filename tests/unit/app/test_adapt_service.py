import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from latentsync.adaptation.audio_choice import LipAgreement
from latentsync.adaptation.observer import Observer
from latentsync.adaptation.report import AdaptationReport, TrainedPart
from latentsync.adaptation.settings import AdaptationSettings
from latentsync.app import adapt_service
from latentsync.app.adapt_service import AdaptOutcome, AdaptRequest, AdaptService, TrainingView
from latentsync.app.adapt_tab import AdaptTab
from latentsync.app.app_folders import AppFolders
from latentsync.app.lipsync_service import SERVER_WEIGHTS, LipsyncService, Sessions
from latentsync.app.speech_uploads import SpeechUploads
from latentsync.errors import InputError
from latentsync.jobs.job import Job, JobState
from latentsync.jobs.limits import Limits
from latentsync.jobs.queue import JobQueue
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.voices import Voices
from latentsync.weights import REPOSITORY_ROOT

METRICS: tuple[str, ...] = ("psnr_db", "ssim", "opening", "width", "leak", "sharpness", "flicker", "edge")
CPU = torch.device("cpu")
LIMITS = Limits(max_seconds=10, max_minutes=5)
VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"


class FakeAdaptation:
    """Reports the stages of an adaptation, and trains until it is told to stop."""

    num_frames = 50

    def __init__(self, settings: AdaptationSettings, progress: Callable[..., None], observer: Observer) -> None:
        self.settings, self.progress, self.observer, self.must_end = settings, progress, observer, False

    def stop_early(self) -> None:
        self.must_end = True

    def __call__(self) -> tuple[AdaptationReport, int]:
        out = self.settings.out
        for name in ("clips", "cache", "training"):
            (out / name).mkdir(parents=True)
        (out / "report.png").write_text("sheet")
        self.progress("faces", 1, self.num_frames)
        self.observer.on_metrics(10, {"loss": 0.5})
        crops = np.zeros((4, 8, 8, 3), np.uint8)
        self.observer.on_preview(10, crops, crops)
        for second in range(1_000_000):
            if self.must_end:
                trained = TrainedPart(second, 1.0, None, self.settings.minutes)
                values: dict[str, float] = dict.fromkeys(METRICS, 1.0)
                agreement = LipAgreement(0.9, 0)
                return AdaptationReport(values, values, 1.5, 1.5, "own", agreement, 0.04, trained, 3.0), 0
            self.progress("training", second, 300)
        raise AssertionError("nobody stopped it")


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    monkeypatch.setattr(adapt_service, "Adaptation", FakeAdaptation)
    monkeypatch.setattr(AdaptService, "settings", _settings_without_checks)
    service = LipsyncService(cast(Any, None), None, LipsyncOptions(), "demo", LIMITS)
    adapter = AdaptService(cast(Any, None), CPU, "mtcnn", LIMITS)
    with AppFolders(tmp_path / "work") as folders, JobQueue(folders) as queue:
        yield Sessions(service, queue, folders, adapter=adapter)


def _settings_without_checks(self: AdaptService, video: Path, folder: Path, request: AdaptRequest):
    return AdaptationSettings(self.run, (video,), folder / "adapted", CPU, minutes=request.minutes)


@pytest.fixture
def upload(sessions: Sessions) -> Path:
    path = sessions.folders.uploads / ("0a" * 32) / "my <b>friend.MOV"
    path.parent.mkdir()
    path.write_text("film")
    return path


def started(sessions: Sessions, upload: Path) -> Job:
    job = sessions.start_adapt(upload, AdaptRequest(minutes=5))
    asyncio.run(_until(sessions, job, lambda: job.view().progress is not None))
    return job


async def _until(sessions: Sessions, job: Job, is_enough: Callable[[], bool]) -> None:
    async for _ in sessions.follow(job):
        if is_enough():
            return


def finished(sessions: Sessions, upload: Path) -> Job:
    job = started(sessions, upload)
    assert sessions.queue.finish(job.id)
    asyncio.run(_until(sessions, job, lambda: False))
    return job


def test_a_job_that_is_stopped_early_has_a_result_without_intermediate_files(sessions: Sessions, upload: Path):
    job = finished(sessions, upload)
    assert job.state is JobState.DONE, job.error
    outcome = sessions.adaptation(job.id)
    assert outcome.folder == job.folder / "adapted"
    assert sorted(path.name for path in outcome.folder.iterdir()) == ["report.png"]
    assert "of 5 planned minutes" in outcome.name
    live: TrainingView = job.live
    assert live.preview is not None
    assert live.chart is not None
    assert Image.open(live.preview).size == (8 * 192, 2 * 192)
    assert upload.read_text() == "film"
    assert not sessions.queue.finish(job.id), "it is over"


def test_a_cancelled_adaptation_leaves_nothing(sessions: Sessions, upload: Path):
    job = started(sessions, upload)
    sessions.queue.cancel(job.id)
    asyncio.run(_until(sessions, job, lambda: False))
    assert job.state is JobState.CANCELLED
    assert list(sessions.folders.jobs.iterdir()) == []
    with pytest.raises(InputError, match="not on the server any more"):
        sessions.adaptation(job.id)


def test_footage_longer_than_the_limit_is_refused_while_it_is_read(
    sessions: Sessions, upload: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(FakeAdaptation, "num_frames", 251)
    job = sessions.start_adapt(upload, AdaptRequest())
    asyncio.run(_until(sessions, job, lambda: False))
    assert job.error == "my <b>friend.MOV lasts longer than 10 s: cut the best part out of it"


def test_a_visitor_can_choose_only_adaptations_that_are_there(sessions: Sessions, upload: Path):
    job = finished(sessions, upload)
    tab = AdaptTab(sessions)
    server = ("demo", SERVER_WEIGHTS)
    assert tab.choices([]) == [server]
    assert tab.choices(["0" * 32, job.id]) == [server, (job.result.name, job.id)]
    with pytest.raises(InputError, match="adapt again, or choose others"):
        sessions.start_lipsync(upload, SpeechUploads(upload), LipsyncOptions(), weights="0" * 32)
    sessions.folders.remove(job.folder)
    assert tab.choices([job.id]) == [server]


def test_a_lip_sync_job_takes_the_adapted_weights(tmp_path: Path):
    class Stop(Exception):
        pass

    class Pipeline:
        resolution, model_fps, device = 64, 25, CPU

        def __call__(self, *files: object, **others: object) -> None:
            raise Stop

    asked = []
    adapted = SimpleNamespace(of=lambda folder: asked.append(folder) or Pipeline())
    service = LipsyncService(cast(Any, None), None, LipsyncOptions(), "demo", LIMITS, adapted=cast(Any, adapted))
    outcome = AdaptOutcome(tmp_path / "anna", "anna", cast(Any, None))
    work = service.lipsync(Path("nowhere"), Voices.of_selected("largest", Path("nowhere")), LipsyncOptions(), outcome)
    with pytest.raises(Stop):
        work(cast(Any, SimpleNamespace(folder=tmp_path, report=None)))
    assert asked == [tmp_path / "anna"]


def test_requests_are_checked_against_the_limits(tmp_path: Path):
    service = AdaptService.load(CPU, "mtcnn", LIMITS)
    for minutes in (0, 6):
        with pytest.raises(InputError, match="it must be above 0, and at most 5"):
            service.settings(VIDEO, tmp_path, AdaptRequest(minutes))
    with pytest.raises(InputError, match=r"the maximum is 0\.01 MB"):
        replace(service, limits=replace(LIMITS, max_megabytes=0.01)).settings(VIDEO, tmp_path, AdaptRequest(1))
    with pytest.raises(InputError, match="use auto, both, own, pseudo"):
        service.settings(VIDEO, tmp_path, AdaptRequest(1, audio="loud"))
    settings = service.settings(VIDEO, tmp_path, AdaptRequest(1, face="left"))
    assert (settings.out, settings.minutes, settings.face) == (tmp_path / "adapted", 1, "left")
    assert not settings.out.exists()


def test_the_chart_is_not_drawn_for_every_row(tmp_path: Path):
    now = [0.0]
    view = TrainingView(tmp_path, 1, clock=lambda: now[0])
    for second, drawn in ((0, "loss_0.png"), (3, "loss_0.png"), (6, "loss_6.png")):
        now[0] = float(second)
        view.on_metrics(second, {"loss": 1.0})
        assert view.chart == tmp_path / drawn
