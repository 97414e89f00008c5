import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from latentsync.app.job import JobState
from latentsync.app.job_folders import JobFolders
from latentsync.app.job_queue import JobQueue
from latentsync.app.limits import Limits
from latentsync.app.lipsync_service import LipsyncService, Sessions
from latentsync.app.visible_text import UNEXPECTED
from latentsync.errors import InputError
from latentsync.pipelines.options import LipsyncOptions


def test_too_many_steps_and_exact_with_the_tiny_vae_are_rejected_before_any_file_is_read():
    service = LipsyncService(cast(Any, SimpleNamespace()), None, LipsyncOptions(), "demo", Limits(max_steps=5))
    with pytest.raises(InputError, match="the maximum is 5"):
        service.check(Path("nowhere"), Path("nowhere"), LipsyncOptions(num_inference_steps=6))
    exact = LipsyncOptions(1, exact=True, overlap_frames=0)
    with pytest.raises(InputError, match="tiny VAE, which contradicts exact"):
        replace(service, vae="tiny").check(Path("nowhere"), Path("nowhere"), exact)


def test_every_job_takes_the_servers_vae_batch_size(tmp_path: Path):
    class Stop(Exception):
        pass

    class Pipeline:
        resolution = 64
        model_fps = 25
        device = torch.device("cpu")

        def __call__(self, video: Path, speech: Path, out: Path, options: LipsyncOptions, **others: object) -> None:
            assert options.vae_batch_size == 3
            assert options.seed == 9
            raise Stop

    service = LipsyncService(cast(Any, Pipeline()), None, LipsyncOptions(vae_batch_size=3), "demo", Limits())
    work = service.lipsync(Path("nowhere"), Path("nowhere"), LipsyncOptions(seed=9))
    with pytest.raises(Stop):
        work(cast(Any, SimpleNamespace(folder=tmp_path, report=None)))


OPTIONS = LipsyncOptions()


class FakeService:
    """Raise `refusal` if it is set, else return the paths of the files."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.limits = SimpleNamespace(check_video=lambda path: self.check(path, path, OPTIONS))

    def check(self, video: Path, speech: Path, options: LipsyncOptions) -> None:
        if self.refusal is not None:
            raise self.refusal

    def lipsync(self, video: Path, speech: Path, options: LipsyncOptions, adapted: None):
        def work(job):
            job.report("lips", 1, 2)
            return video, speech, options

        return work

    def people(self, video: Path):
        return lambda job: video


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    with JobFolders(tmp_path / "work") as folders, JobQueue(folders) as queue:
        yield Sessions(cast(Any, FakeService()), queue, folders)


@pytest.fixture
def files(sessions: Sessions) -> tuple[Path, Path]:
    folder = sessions.folders.uploads / ("0a" * 32)
    folder.mkdir()
    video, speech = folder / "my holiday.MOV", folder / "my voice.wav"
    for path in (video, speech):
        path.write_text(path.name)
    return video, speech


async def states(sessions: Sessions, job) -> list[JobState]:
    return [view.state async for view in sessions.follow(job)]


def test_a_job_works_on_copies_in_its_own_folder(sessions: Sessions, files: tuple[Path, Path]):
    job = sessions.start_lipsync(*files, OPTIONS)
    seen = asyncio.run(states(sessions, job))
    assert seen[-1] is JobState.DONE
    video, speech, options = job.result
    assert (video, speech) == (job.folder / "video.mov", job.folder / "speech.wav")
    assert [path.read_text() for path in (video, speech)] == ["my holiday.MOV", "my voice.wav"]
    assert options is OPTIONS
    assert [path.read_text() for path in files] == ["my holiday.MOV", "my voice.wav"]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_file_is_named(sessions: Sessions, files: tuple[Path, Path], missing: int):
    given: list[Path | None] = list(files)
    given[missing] = None
    with pytest.raises(InputError, match=f"there is no {['video', 'speech'][missing]} yet"):
        sessions.start_lipsync(given[0], given[1], OPTIONS)


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        (lambda video: InputError(f"{video} is too long"), "my holiday.MOV is too long"),
        (lambda video: InputError(f"{video.parent}/x and /etc/x"), "the job's folder/x and a file of the server"),
        (lambda video: OSError(28, "No space left on device"), "disk is full"),
        (lambda video: RuntimeError(f"{video}: a bug"), UNEXPECTED),
    ],
)
def test_a_rejection_is_one_line_with_the_visitors_file_names_and_leaves_nothing(
    sessions: Sessions, files: tuple[Path, Path], refusal, line: str
):
    def refuse(video: Path, speech: Path, options: LipsyncOptions) -> None:
        raise refusal(video)

    cast(Any, sessions.service).check = refuse
    job = sessions.start_lipsync(*files, OPTIONS)
    assert asyncio.run(states(sessions, job))[-1] is JobState.FAILED
    assert line in job.error
    assert str(sessions.folders.root) not in job.error
    assert list(sessions.folders.jobs.iterdir()) == []
    assert sessions.queue.active() == []


def test_a_removed_upload_is_one_line(sessions: Sessions, files: tuple[Path, Path]):
    files[1].unlink()
    job = sessions.start_lipsync(*files, OPTIONS)
    assert asyncio.run(states(sessions, job))[-1] is JobState.FAILED
    assert job.error == "my voice.wav is not among the uploads: upload it again"


def test_a_removed_work_folder_is_one_line(sessions: Sessions, files: tuple[Path, Path]):
    shutil.rmtree(sessions.folders.root)
    with pytest.raises(InputError, match=UNEXPECTED):
        sessions.start_lipsync(*files, OPTIONS)


def test_finding_people_is_a_job_too(sessions: Sessions, files: tuple[Path, Path]):
    job = sessions.start_people(files[0])
    asyncio.run(states(sessions, job))
    assert job.result == job.folder / "video.mov"
