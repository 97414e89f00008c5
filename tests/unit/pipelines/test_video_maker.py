import json
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.timeline import Run
from latentsync.pipelines.video_maker import VideoMaker, VideoTask, read_record


class FakePipeline:
    """Writes the speech's bytes as the result; fails where it is told to."""

    def __init__(self) -> None:
        self.num_loads = self.num_calls = 0
        self.error: Exception | None = None

    def load(self):
        self.num_loads += 1
        return self

    def __call__(self, video: Path, audio: Path, out: Path) -> LipsyncReport:
        self.num_calls += 1
        if self.error is not None:
            raise self.error
        out.write_bytes(audio.read_bytes())
        return LipsyncReport(out, [], 50, [Run(0, 40, True), Run(40, 50, False)], 25.0, 1.0, 4.0, 100.0, None)


@pytest.fixture
def task(tmp_path: Path) -> VideoTask:
    for name in ("face.mp4", "speech.wav"):
        (tmp_path / name).write_text(name)
    video, speech = tmp_path / "face.mp4", tmp_path / "speech.wav"
    return VideoTask(video, speech, tmp_path / "out.mp4", tmp_path / "record.json", {"name": "a"})


def maker_of(pipeline: FakePipeline, **settings: int) -> VideoMaker:
    return VideoMaker(settings or {"steps": 20}, pipeline.load)


def test_a_finished_video_is_not_made_again(task: VideoTask):
    pipeline = FakePipeline()
    first = maker_of(pipeline).make(task)
    assert (first.error, first.was_there) == (None, False)
    assert maker_of(pipeline).make(task).was_there
    assert (pipeline.num_loads, pipeline.num_calls) == (1, 1)  # nothing is loaded for nothing
    record = read_record(task.record)
    assert record is not None
    assert (record["name"], record["status"], record["num_frames"], record["num_synced"]) == ("a", "finished", 50, 40)
    assert record["frames_per_second"] == 10.0
    assert record["settings"] == {"steps": 20}
    assert record["runs"][1] == {"start": 40, "stop": 50, "has_face": False}


@pytest.mark.parametrize("change", ["settings", "speech", "result gone"])
def test_what_changed_is_made_again(task: VideoTask, change: str):
    pipeline = FakePipeline()
    maker = maker_of(pipeline)
    maker.make(task)
    if change == "settings":
        maker = maker_of(pipeline, steps=10)
    elif change == "speech":
        task.audio.write_text("other words")
    else:
        task.result.unlink()
    assert not maker.make(task).was_there
    assert pipeline.num_calls == 2
    assert task.result.read_bytes() == task.audio.read_bytes()


@pytest.mark.parametrize("error", [InputError("no face was found"), RuntimeError("a fault\nof many lines")])
def test_a_failure_is_written_down_loses_nothing_and_is_tried_again(task: VideoTask, error: Exception):
    pipeline = FakePipeline()
    maker_of(pipeline, steps=1).make(task)
    maker = maker_of(pipeline, steps=2)
    pipeline.error = error
    outcome = maker.make(task)
    assert outcome.error is not None
    assert " ".join(str(error).split()) in outcome.error
    assert task.result.read_text() == "speech.wav"  # what was there before is not taken away
    record = json.loads(task.record.read_text())
    assert (record["status"], record["error"]) == ("failed", outcome.error)
    pipeline.error = None
    assert maker.make(task).error is None


def test_an_input_that_is_missing_fails_without_the_pipeline(task: VideoTask):
    task.audio.unlink()
    pipeline = FakePipeline()
    outcome = maker_of(pipeline).make(task)
    assert outcome.error is not None
    assert "speech.wav" in outcome.error
    assert pipeline.num_loads == 0


@pytest.mark.parametrize("content", ["my notes", '{"key": ', '{"notes": 1}'])
def test_a_file_in_the_place_of_the_record_that_is_not_ours_stays(task: VideoTask, content: str):
    task.record.write_text(content)
    pipeline = FakePipeline()
    outcome = maker_of(pipeline).make(task)
    assert outcome.error is not None
    assert "record.json is there already and is no record of ours: move it away" in outcome.error
    assert task.record.read_text() == content
    assert (pipeline.num_loads, task.result.exists()) == (0, False)


def test_what_cannot_begin_fails_without_the_pipeline(task: VideoTask):
    def check(task: VideoTask) -> None:
        raise InputError("the output is an input")

    pipeline = FakePipeline()
    outcome = VideoMaker({}, pipeline.load, check).make(task)
    assert outcome.error == "the output is an input"
    assert pipeline.num_loads == 0


def test_what_somebody_else_put_there_stays_when_the_video_fails(task: VideoTask):
    task.result.write_text("not ours")
    pipeline = FakePipeline()
    pipeline.error = InputError("no face was found")
    assert maker_of(pipeline).make(task).error is not None
    assert task.result.read_text() == "not ours"
