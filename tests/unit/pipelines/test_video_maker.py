import json
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.pipelines.report import LipsyncReport, PersonReport
from latentsync.pipelines.video_maker import VideoJob, VideoMaker, _speech_keys, read_record
from latentsync.pipelines.voices import Voice, Voices
from latentsync.pipelines.windows import FaceInterval


class FakePipeline:
    """Write the bytes of the audio as the result; raise `error` if it is set."""

    def __init__(self) -> None:
        self.num_loads = self.num_calls = 0
        self.error: Exception | None = None

    def load(self):
        self.num_loads += 1
        return self

    def __call__(self, video: Path, audio: Path | Voices, out: Path) -> LipsyncReport:
        assert isinstance(audio, Path)
        self.num_calls += 1
        if self.error is not None:
            raise self.error
        out.write_bytes(audio.read_bytes())
        person = PersonReport("largest", audio, [FaceInterval(0, 40, True), FaceInterval(40, 50, False)])
        return LipsyncReport(out, [], 50, [person], 25.0, 1.0, 4.0, 100.0, None)


@pytest.fixture
def job(tmp_path: Path) -> VideoJob:
    for name in ("face.mp4", "speech.wav"):
        (tmp_path / name).write_text(name)
    video, speech = tmp_path / "face.mp4", tmp_path / "speech.wav"
    return VideoJob(video, speech, tmp_path / "out.mp4", tmp_path / "record.json", {"name": "a"})


def maker_of(pipeline: FakePipeline, **settings: int) -> VideoMaker:
    return VideoMaker(settings or {"steps": 20}, pipeline.load)


def test_a_finished_video_is_not_generated_again(job: VideoJob):
    pipeline = FakePipeline()
    first = maker_of(pipeline).make(job)
    assert (first.error, first.was_there) == (None, False)
    assert maker_of(pipeline).make(job).was_there
    assert (pipeline.num_loads, pipeline.num_calls) == (1, 1)  # the networks are not loaded again
    record = read_record(job.record)
    assert record is not None
    assert (record["name"], record["status"], record["num_frames"], record["num_synced"]) == ("a", "finished", 50, 40)
    assert record["frames_per_second"] == 10.0
    assert record["settings"] == {"steps": 20}
    assert record["runs"][1] == {"start": 40, "stop": 50, "has_face": False}


def speech_of(job: VideoJob) -> Path:
    assert isinstance(job.audio, Path)
    return job.audio


def test_voices_of_several_people_and_the_sound_belong_to_the_key(job: VideoJob, tmp_path: Path):
    speech = speech_of(job)
    voice = Voices((Voice("left", speech),))
    other = Voices((Voice("right", speech),))
    keys = {str(_speech_keys(audio)) for audio in (speech, voice, other, replace(voice, sound=speech))}
    assert len(keys) == 4


@pytest.mark.parametrize("change", ["settings", "speech", "result gone"])
def test_a_changed_job_is_generated_again(job: VideoJob, change: str):
    pipeline = FakePipeline()
    maker = maker_of(pipeline)
    maker.make(job)
    if change == "settings":
        maker = maker_of(pipeline, steps=10)
    elif change == "speech":
        speech_of(job).write_text("other words")
    else:
        job.result.unlink()
    assert not maker.make(job).was_there
    assert pipeline.num_calls == 2
    assert job.result.read_bytes() == speech_of(job).read_bytes()


@pytest.mark.parametrize("error", [InputError("no face was found"), RuntimeError("a fault\nof many lines")])
def test_a_failure_is_recorded_keeps_the_old_result_and_is_tried_again(job: VideoJob, error: Exception):
    pipeline = FakePipeline()
    maker_of(pipeline, steps=1).make(job)
    maker = maker_of(pipeline, steps=2)
    pipeline.error = error
    outcome = maker.make(job)
    assert outcome.error is not None
    assert " ".join(str(error).split()) in outcome.error
    assert job.result.read_text() == "speech.wav"  # the previous result is kept
    record = json.loads(job.record.read_text())
    assert (record["status"], record["error"]) == ("failed", outcome.error)
    pipeline.error = None
    assert maker.make(job).error is None


def test_an_input_that_is_missing_fails_without_the_pipeline(job: VideoJob):
    speech_of(job).unlink()
    pipeline = FakePipeline()
    outcome = maker_of(pipeline).make(job)
    assert outcome.error is not None
    assert "speech.wav" in outcome.error
    assert pipeline.num_loads == 0


@pytest.mark.parametrize("content", ["my notes", '{"key": ', '{"notes": 1}'])
def test_a_file_at_the_path_of_the_record_that_is_no_record_stays(job: VideoJob, content: str):
    job.record.write_text(content)
    pipeline = FakePipeline()
    outcome = maker_of(pipeline).make(job)
    assert outcome.error is not None
    assert "record.json exists and is not a record of this program: move it away" in outcome.error
    assert job.record.read_text() == content
    assert (pipeline.num_loads, job.result.exists()) == (0, False)


def test_a_job_that_cannot_start_fails_without_the_pipeline(job: VideoJob):
    def check(job: VideoJob) -> None:
        raise InputError("the output is an input")

    pipeline = FakePipeline()
    outcome = VideoMaker({}, pipeline.load, check).make(job)
    assert outcome.error == "the output is an input"
    assert pipeline.num_loads == 0


def test_a_foreign_file_at_the_path_of_the_result_stays_when_the_video_fails(job: VideoJob):
    job.result.write_text("not ours")
    pipeline = FakePipeline()
    pipeline.error = InputError("no face was found")
    assert maker_of(pipeline).make(job).error is not None
    assert job.result.read_text() == "not ours"
