import asyncio
import json
import shutil
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from latentsync.app.app_folders import AppFolders
from latentsync.app.lipsync_request import LIPSYNC, AdaptedWeights, LipsyncRequest
from latentsync.app.lipsync_service import LipsyncJobs, LipsyncOutcome, LipsyncService, Sessions
from latentsync.app.speech_uploads import SpeechUploads
from latentsync.app.sync_comparison import SyncComparison
from latentsync.errors import InputError
from latentsync.jobs.job import Job, JobState
from latentsync.jobs.limits import Limits
from latentsync.jobs.queue import JobQueue
from latentsync.jobs.visible_text import UNEXPECTED
from latentsync.judges.sync_score import SyncScore
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.voices import Voice, Voices

NOWHERE = Voices.of_selected("largest", Path("nowhere"))


def test_too_many_steps_and_exact_with_the_tiny_vae_are_rejected_before_any_file_is_read():
    service = LipsyncService(cast(Any, SimpleNamespace()), None, LipsyncOptions(), "demo", Limits(max_steps=5))
    with pytest.raises(InputError, match="the maximum is 5"):
        service.check(Path("nowhere"), NOWHERE, LipsyncOptions(num_inference_steps=6))
    exact = LipsyncOptions(1, exact=True, overlap_frames=0)
    with pytest.raises(InputError, match="tiny VAE, which contradicts exact"):
        replace(service, vae="tiny").check(Path("nowhere"), NOWHERE, exact)


def test_every_job_takes_the_servers_vae_batch_size_and_stages(tmp_path: Path):
    class Stop(Exception):
        pass

    class Pipeline:
        resolution = 64
        model_fps = 25
        device = torch.device("cpu")

        def __call__(self, video: Path, voices: Voices, out: Path, options: LipsyncOptions, **others: object) -> None:
            assert options.vae_batch_size == 3
            assert options.concurrent_stages
            assert options.seed == 9
            raise Stop

    of_server = LipsyncOptions(vae_batch_size=3, concurrent_stages=True)
    service = LipsyncService(cast(Any, Pipeline()), None, of_server, "demo", Limits())
    work = service.lipsync(Path("nowhere"), NOWHERE, LipsyncOptions(seed=9))
    with pytest.raises(Stop):
        work(cast(Any, SimpleNamespace(folder=tmp_path, report=None)))


OPTIONS = LipsyncOptions()


class FakeService:
    """Raise `refusal` if it is set, else return the paths of the files."""

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.limits = SimpleNamespace(check_video=lambda path: self.check(path, NOWHERE, OPTIONS))

    def check(self, video: Path, voices: Voices, options: LipsyncOptions) -> None:
        if self.refusal is not None:
            raise self.refusal

    def lipsync(self, video: Path, voices: Voices, options: LipsyncOptions, adapted: None):
        def work(job):
            job.report("lips", 1, 2)
            return video, voices, options

        return work

    def people(self, video: Path):
        return lambda job: video


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    with AppFolders(tmp_path / "work") as folders, JobQueue(folders) as queue:
        yield Sessions(cast(Any, FakeService()), queue, folders)


@pytest.fixture
def files(sessions: Sessions) -> tuple[Path, Path]:
    folder = sessions.folders.uploads / ("0a" * 32)
    folder.mkdir()
    video, speech = folder / "my holiday.MOV", folder / "my voice.wav"
    for path in (video, speech):
        path.write_text(path.name)
    return video, speech


def start(sessions: Sessions, files: tuple[Path, Path]) -> Job:
    return sessions.start_lipsync(files[0], SpeechUploads(files[1]), OPTIONS)


async def states(sessions: Sessions, job) -> list[JobState]:
    return [view.state async for view in sessions.follow(job)]


def test_a_job_works_on_copies_in_its_own_folder(sessions: Sessions, files: tuple[Path, Path]):
    job = start(sessions, files)
    seen = asyncio.run(states(sessions, job))
    assert seen[-1] is JobState.DONE
    video, voices, options = job.result
    assert video == job.folder / "video.mov"
    assert voices == Voices.of_selected("largest", job.folder / "speech.wav")
    assert [path.read_text() for path in (video, *voices.speeches)] == ["my holiday.MOV", "my voice.wav"]
    assert options is OPTIONS
    assert [path.read_text() for path in files] == ["my holiday.MOV", "my voice.wav"]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_file_is_named(sessions: Sessions, files: tuple[Path, Path], missing: int):
    given: list[Path | None] = list(files)
    given[missing] = None
    with pytest.raises(InputError, match=f"there is no {['video', 'speech'][missing]} yet"):
        sessions.start_lipsync(given[0], SpeechUploads(given[1]), OPTIONS)


@dataclass(frozen=True)
class Uploaded:
    """A video, the voices of two people, and a mix."""

    video: Path
    anna: Path
    ben: Path
    mix: Path


@pytest.fixture
def uploaded(sessions: Sessions, files: tuple[Path, Path]) -> Uploaded:
    paths = []
    for number, name in enumerate(("anna.WAV", "ben.mp3", "mix.flac"), start=1):
        folder = sessions.folders.uploads / (f"{number}b" * 32)
        folder.mkdir()
        paths.append(folder / name)
        paths[-1].write_text(name)
    return Uploaded(files[0], *paths)


def test_the_voices_of_people_are_copied_and_reach_the_pipeline_with_their_selectors(
    sessions: Sessions, uploaded: Uploaded
):
    people = (Voice("right", uploaded.anna), Voice("100,50", uploaded.ben))
    job = sessions.start_lipsync(uploaded.video, SpeechUploads(None, people, uploaded.mix), OPTIONS)
    assert asyncio.run(states(sessions, job))[-1] is JobState.DONE
    own = tuple(job.folder / name for name in ("voice_1.wav", "voice_2.mp3", "sound.flac"))
    assert job.result[1] == Voices((Voice("right", own[0]), Voice("100,50", own[1])), own[2])
    assert [path.read_text() for path in own] == ["anna.WAV", "ben.mp3", "mix.flac"]
    assert uploaded.anna.read_text() == "anna.WAV"
    assert [job.names[path] for path in own] == ["anna.WAV", "ben.mp3", "mix.flac"]


def test_a_speech_for_one_face_and_voices_of_people_contradict_each_other(sessions: Sessions, uploaded: Uploaded):
    both = SpeechUploads(uploaded.mix, (Voice("left", uploaded.anna), Voice("right", uploaded.ben)))
    with pytest.raises(InputError, match="of the person left and right: remove one of both"):
        sessions.start_lipsync(uploaded.video, both, OPTIONS)


@pytest.mark.parametrize(
    ("faces", "said"),
    [(("left", "left"), "'left' has 2 voices"), (("up", "left"), "'up' is unknown"), (("all", "left"), "of everyone")],
)
def test_wrong_selectors_are_rejected_before_anything_is_copied(
    sessions: Sessions, uploaded: Uploaded, faces: tuple[str, str], said: str
):
    people = tuple(map(Voice, faces, (uploaded.anna, uploaded.ben)))
    with pytest.raises(InputError, match=said):
        sessions.start_lipsync(uploaded.video, SpeechUploads(people=people), OPTIONS)
    assert list(sessions.folders.jobs.iterdir()) == []


def test_a_voice_that_is_no_upload_is_refused(sessions: Sessions, uploaded: Uploaded, tmp_path: Path):
    secret = tmp_path / "secret.wav"
    secret.write_text("secret")
    people = (Voice("left", uploaded.anna), Voice("right", secret))
    job = sessions.start_lipsync(uploaded.video, SpeechUploads(people=people), OPTIONS)
    assert asyncio.run(states(sessions, job))[-1] is JobState.FAILED
    assert job.error == "secret.wav is not among the uploads: upload it again"
    assert secret.read_text() == "secret"


def test_masks_are_copied_and_named_as_the_visitor_named_them(sessions: Sessions, uploaded: Uploaded):
    options = replace(OPTIONS, occluder=str(uploaded.mix))
    job = sessions.start_lipsync(uploaded.video, SpeechUploads(uploaded.anna), options)
    assert asyncio.run(states(sessions, job))[-1] is JobState.DONE
    own = job.folder / "occluder.flac"
    assert job.result[2] == replace(OPTIONS, occluder=str(own))
    assert own.read_text() == "mix.flac"
    assert job.names[own] == "mix.flac"


def test_masks_that_are_no_upload_are_refused(sessions: Sessions, uploaded: Uploaded, tmp_path: Path):
    (tmp_path / "secret.mkv").write_text("secret")
    options = replace(OPTIONS, occluder=str(tmp_path / "secret.mkv"))
    job = sessions.start_lipsync(uploaded.video, SpeechUploads(uploaded.anna), options)
    assert asyncio.run(states(sessions, job))[-1] is JobState.FAILED
    assert job.error == "secret.mkv is not among the uploads: upload it again"


def test_things_that_are_found_are_no_file(sessions: Sessions, uploaded: Uploaded):
    options = replace(OPTIONS, occluder="auto")
    job = sessions.start_lipsync(uploaded.video, SpeechUploads(uploaded.anna), options)
    assert asyncio.run(states(sessions, job))[-1] is JobState.DONE
    assert job.result[2] is options


class Recorded:
    """Limits that record what is checked; a speech lasts as many seconds as its name says."""

    max_steps = 100
    check_steps, check_files = Limits.check_steps, Limits.check_files

    def __init__(self) -> None:
        self.checked: list[object] = []

    def check_video(self, path: Path) -> str:
        return "info"

    def check_speech(self, path: Path) -> float:
        self.checked.append(path)
        return float(path.stem)

    def check_frames(self, *arguments: object) -> None:
        self.checked.append(arguments)

    def check_length(self, video: object) -> float:
        return 7.0


def test_every_file_and_the_number_of_people_are_checked():
    limits = Recorded()
    pipeline = SimpleNamespace(check_options=lambda options: None)
    service = LipsyncService(cast(Any, pipeline), None, LipsyncOptions(), "demo", cast(Any, limits))
    voices = Voices((Voice("left", Path("3.wav")), Voice("right", Path("5.wav"))), Path("9.wav"))
    service.check(Path("v.mp4"), voices, LipsyncOptions())
    assert limits.checked == [Path("3.wav"), Path("5.wav"), Path("9.wav"), ("info", 5.0, "25", 2)]
    service.check(Path("v.mp4"), voices, LipsyncOptions(sync_mode="silence"))
    assert limits.checked[-1] == ("info", 7.0, "25", 2), "the result is as long as the video"
    exact = LipsyncOptions(exact=True, overlap_frames=0)
    with pytest.raises(InputError, match="a face is all, which contradicts exact"):
        service.check(Path("v.mp4"), Voices((Voice("all", Path("3.wav")),)), exact)


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
    def refuse(video: Path, voices: Voices, options: LipsyncOptions) -> None:
        raise refusal(video)

    cast(Any, sessions.service).check = refuse
    job = start(sessions, files)
    assert asyncio.run(states(sessions, job))[-1] is JobState.FAILED
    assert line in job.error
    assert str(sessions.folders.root) not in job.error
    assert list(sessions.folders.jobs.iterdir()) == []
    assert sessions.queue.active() == []


def test_a_removed_upload_is_one_line(sessions: Sessions, files: tuple[Path, Path]):
    files[1].unlink()
    job = start(sessions, files)
    assert asyncio.run(states(sessions, job))[-1] is JobState.FAILED
    assert job.error == "my voice.wav is not among the uploads: upload it again"


def test_a_removed_work_folder_is_one_line(sessions: Sessions, files: tuple[Path, Path]):
    shutil.rmtree(sessions.folders.root)
    with pytest.raises(InputError, match=UNEXPECTED):
        start(sessions, files)


class Durable(FakeService):
    """Return an outcome with the checked inputs as its lines, once `may_end` is set."""

    def __init__(self, may_end: bool) -> None:
        super().__init__()
        self.begun, self.may_end = Event(), may_end

    def lipsync(self, video: Path, voices: Voices, options: LipsyncOptions, adapted: AdaptedWeights | None):
        def work(job: Job) -> LipsyncOutcome:
            self.begun.set()
            while not self.may_end:
                job.report("lips", 1, 2)
            files = [job.folder / name for name in ("lipsync.mp4", "compare.mp4", "sheet.png", "summary.txt")]
            for path in files:
                path.touch()
            sync = SyncComparison("scorer", SyncScore(1, 2.5, 3.5), None, "reason")
            return LipsyncOutcome(*files, sync, [str(video), repr(voices), repr(options), repr(adapted)])

        return work


@contextmanager
def durable_sessions(folder: Path, service: Durable) -> Iterator[Sessions]:
    with AppFolders(folder) as folders:
        jobs = LipsyncJobs(cast(Any, service), folders)
        with JobQueue(folders, handlers={LIPSYNC: jobs}) as queue:
            yield Sessions(cast(Any, service), queue, folders)


def test_jobs_of_a_stopped_app_run_after_the_next_start_and_results_are_found_again(tmp_path: Path):
    uploads = tmp_path / "latentsync-app" / "uploads"
    service = Durable(may_end=False)
    names = ("talk.mov", "anna.wav", "ben.mp3", "mix.flac", "masks.mkv")
    options = LipsyncOptions(seed=5, guidance_interval=(0.1, 0.9))
    with durable_sessions(tmp_path, service) as sessions:
        paths = [uploads / (f"{number}c" * 32) / name for number, name in enumerate(names)]
        for path in paths:
            path.parent.mkdir()
            path.write_text(path.name)
        talk, anna, ben, mix, masks = paths
        running = sessions.start_lipsync(talk, SpeechUploads(anna), options)
        assert service.begun.wait(20)
        people = SpeechUploads(None, (Voice("left", anna), Voice("right", ben)), mix)
        waiting = sessions.start_lipsync(talk, people, replace(options, occluder=str(masks)))
    assert running.folder.is_dir()
    assert waiting.folder.is_dir()

    outcomes = {}
    with durable_sessions(tmp_path, Durable(may_end=True)) as sessions:
        for old in (running, waiting):
            job = sessions.find(old.id)
            assert job is not None
            assert asyncio.run(states(sessions, job))[-1] is JobState.DONE
            outcomes[old.id] = job.result
    own = {path.name: waiting.folder / name for path, name in zip(paths, OWN, strict=True)}
    voices = Voices((Voice("left", own["anna.wav"]), Voice("right", own["ben.mp3"])), own["mix.flac"])
    expected = replace(options, occluder=str(own["masks.mkv"]))
    assert outcomes[waiting.id].lines == [str(own["talk.mov"]), repr(voices), repr(expected), "None"]
    assert all(own[name].read_text() == name for name in names)

    with durable_sessions(tmp_path, Durable(may_end=True)) as sessions:
        assert sessions.queue.active() == []
        found = sessions.find(waiting.id)
        assert found is not None
        assert (found.state, found.result) == (JobState.DONE, outcomes[waiting.id])
        sessions.folders.remove(waiting.folder)
        assert sessions.find(waiting.id) is None


OWN = ("video.mov", "voice_1.wav", "voice_2.mp3", "sound.flac", "occluder.mkv")


def test_a_job_that_no_page_polls_ends_although_it_would_survive_a_restart(tmp_path: Path):
    service = Durable(may_end=False)
    with durable_sessions(tmp_path, service) as sessions:
        folder = sessions.folders.uploads / ("0a" * 32)
        folder.mkdir()
        (upload := folder / "a.wav").touch()
        sessions.grace_seconds = 0.0
        job = sessions.start_lipsync(upload, SpeechUploads(upload), OPTIONS)
        while not job.state.is_over:
            time.sleep(0.01)
        assert job.state is JobState.CANCELLED
        record = sessions.folders.store.get(job.id)
        assert record is not None
        assert record.state is JobState.CANCELLED


def test_weights_of_a_visitor_are_in_the_record(tmp_path: Path):
    adapted = AdaptedWeights(tmp_path / "adapted", "anna")
    request = LipsyncRequest(tmp_path / "v.mp4", SpeechUploads(tmp_path / "s.wav"), OPTIONS, adapted)
    assert LipsyncRequest.of(json.loads(json.dumps(request.record()))) == request


def test_finding_people_is_a_job_too(sessions: Sessions, files: tuple[Path, Path]):
    job = sessions.start_people(files[0])
    asyncio.run(states(sessions, job))
    assert job.result == job.folder / "video.mov"


def test_masks_are_checked_like_the_video_and_against_it(tmp_path: Path):
    for name, size in (("v.mp4", 64), ("masks.mkv", 48)):
        with VideoWriter(tmp_path / name, size, size, 25) as writer:
            for _ in range(5):
                writer.write(np.zeros((size, size, 3), dtype=np.uint8))
    with wave.open(str(tmp_path / "speech.wav"), "wb") as speech:
        speech.setparams((1, 2, 16000, 0, "NONE", ""))
        speech.writeframes(bytes(2 * 3200))
    pipeline = SimpleNamespace(check_options=lambda options: None)
    voices = Voices.of_selected("largest", tmp_path / "speech.wav")

    def check(masks: Path | str, limits: Limits) -> None:
        service = LipsyncService(cast(Any, pipeline), None, LipsyncOptions(), "demo", limits)
        service.check(tmp_path / "v.mp4", voices, LipsyncOptions(occluder=str(masks)))

    check(tmp_path / "v.mp4", Limits())
    with pytest.raises(InputError, match=r"masks\.mkv has frames of 48 x 48 pixels.*give masks of the video's size"):
        check(tmp_path / "masks.mkv", Limits())
    with pytest.raises(InputError, match=r"speech\.wav has no video stream"):
        check(tmp_path / "speech.wav", Limits())
    with VideoWriter(tmp_path / "large.mkv", 256, 64, 25) as writer:
        writer.write(np.zeros((64, 256, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"large\.mkv has 256x64 pixels: scale it to at most 100"):
        check(tmp_path / "large.mkv", Limits(max_side=100))


def test_two_people_with_the_same_file_share_it(sessions: Sessions, uploaded: Uploaded):
    """As for one person whom appearance does not recognize across a cut: the speech is in the mix once."""
    people = tuple(Voice(face, uploaded.anna) for face in ("person2", "person3"))
    job = sessions.start_lipsync(uploaded.video, SpeechUploads(people=people), OPTIONS)
    assert asyncio.run(states(sessions, job))[-1] is JobState.DONE
    own = job.folder / "voice_1.wav"
    assert job.result[1] == Voices((Voice("person2", own), Voice("person3", own)))
