from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.pipelines.report import LipsyncReport
from latentsync.pipelines.video_maker import VideoMaker
from latentsync.pipelines.windows import FaceInterval
from latentsync.recipes.video_list import adapted_of, preset_of, read_jobs, summary, working_order

HEADER = "video_path,audio_path,video_out_path"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "a folder"
    place.mkdir()
    for name in ("face one.mp4", "speech.wav"):
        (place / name).write_text(name)
    return place


def written(folder: Path, *lines: str) -> Path:
    (folder / "jobs.csv").write_text("\n".join((HEADER, *lines)) + "\n")
    return folder / "jobs.csv"


def copying(video: Path, audio: Path, out: Path) -> LipsyncReport:
    if "bad" in out.name:
        raise InputError("no face was found")
    out.write_bytes(audio.read_bytes())
    return LipsyncReport(out, [], 50, [FaceInterval(0, 50, True)], 25.0, 1.0, 4.0, 100.0, None)


def test_a_failed_job_does_not_stop_the_rest_and_the_next_run_makes_what_is_missing(folder: Path):
    jobs = read_jobs(written(folder, "face one.mp4,speech.wav,out/bad.mp4", "face one.mp4,speech.wav,out/b.mp4"))
    outcomes = [VideoMaker({}, lambda: copying).make(job) for job in jobs]
    assert [outcome.error for outcome in outcomes] == ["no face was found", None]
    assert (folder / "out" / "b.mp4").read_text() == "speech.wav"
    lines = summary(outcomes, lambda path: path.name)
    assert lines[1].split() == ["bad.mp4", "failed", "-", "-", "-", "no", "face", "was", "found"]
    assert lines[2].split() == ["b.mp4", "made", "50", "50", "5.0"]
    assert lines[-1] == "1 of 2 results are there, 0 from before"
    again = [VideoMaker({}, lambda: copying).make(job) for job in jobs]
    assert [outcome.was_there for outcome in again] == [False, True]
    assert summary(again, lambda path: path.name)[2].split() == ["b.mp4", "was", "there", "50", "50", "5.0"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["face one.mp4,speech.wav,o.mp4", "face one.mp4,speech.wav,./o.mp4"], "two jobs write to"),
        (["face one.mp4,speech.wav,face one.mp4"], "is also an input"),
        (["face one.mp4,,o.mp4"], "entry 1: audio_path is empty"),
        ([], "lists nothing"),
    ],
)
def test_lists_that_cannot_be_meant_are_refused_before_any_work(folder: Path, lines: list[str], message: str):
    with pytest.raises(InputError, match=message):
        read_jobs(written(folder, *lines))


def test_a_line_may_name_a_preset(folder: Path):
    lines = ("face one.mp4,speech.wav,a.mp4,fast", "face one.mp4,speech.wav,b.mp4,")
    (folder / "jobs.csv").write_text("\n".join((f"{HEADER},preset", *lines)) + "\n")
    assert [preset_of(job) for job in read_jobs(folder / "jobs.csv")] == ["fast", None]
    (folder / "jobs.csv").write_text(f"{HEADER},preset\n{lines[0]}er\n")
    with pytest.raises(InputError, match="entry 1: preset is 'faster': use exact, balanced, "):
        read_jobs(folder / "jobs.csv")


def test_a_line_may_name_adapted_weights_which_no_job_overwrites(folder: Path):
    rows = [("a.mp4", "runs/anna"), ("b.mp4", ""), ("c.mp4", "ben"), ("d.mp4", "runs/anna"), ("e.mp4", "")]
    lines = [f"face one.mp4,speech.wav,{out},{adapted}" for out, adapted in rows]
    (folder / "jobs.csv").write_text("\n".join((f"{HEADER},adapted", *lines)) + "\n")
    jobs = read_jobs(folder / "jobs.csv")
    anna = folder / "runs/anna"
    assert [adapted_of(job) for job in jobs] == [anna, None, folder / "ben", anna, None]
    assert working_order(jobs) == [0, 3, 1, 4, 2]
    (anna / "x.mp4").parent.mkdir(parents=True)
    (anna / "x.mp4").symlink_to(anna / "latentsync_unet.pt")
    (anna / "latentsync_unet.pt").touch()
    (folder / "jobs.csv").write_text(f"{HEADER},adapted\nface one.mp4,speech.wav,runs/anna/x.mp4,runs/anna\n")
    with pytest.raises(InputError, match="is also an input"):
        read_jobs(folder / "jobs.csv")
