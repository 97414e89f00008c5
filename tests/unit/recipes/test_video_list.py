from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.pipelines.report import LipsyncReport, PersonReport
from latentsync.pipelines.video_maker import VideoJob, VideoMaker
from latentsync.pipelines.voices import Voice, Voices
from latentsync.pipelines.windows import FaceInterval
from latentsync.recipes.video_list import adapted_of, occluder_of, preset_of, read_jobs, summary, working_order

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


def copying(video: Path, audio: Path | Voices, out: Path) -> LipsyncReport:
    assert isinstance(audio, Path)
    if "bad" in out.name:
        raise InputError("no face was found")
    out.write_bytes(audio.read_bytes())
    return LipsyncReport(
        out, [], 50, [PersonReport("largest", audio, [FaceInterval(0, 50, True)])], 25.0, 1.0, 4.0, 100.0, None
    )


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


def test_lines_name_faces_voices_and_sound(tmp_path: Path):
    (tmp_path / "a=b.wav").touch()
    jobs = write_and_read(
        tmp_path,
        "video_path,audio_path,video_out_path,face,sound",
        "v.mp4,a.wav,1.mp4,,",
        "v.mp4,a.wav,2.mp4,left,",
        "v.mp4,left=a.wav; right=b c.wav,3.mp4,,mix.wav",
        "v.mp4,a=b.wav,4.mp4,,",
        "v.mp4,a.wav,5.mp4,,mix.wav",
        "v.mp4,a.wav,6.mp4,speaker,",
    )
    assert jobs[0].audio == tmp_path / "a.wav"
    assert jobs[1].audio == Voices.of_selected("left", tmp_path / "a.wav")
    two = (Voice("left", tmp_path / "a.wav"), Voice("right", tmp_path / "b c.wav"))
    assert jobs[2].audio == Voices(two, tmp_path / "mix.wav")
    assert jobs[3].audio == tmp_path / "a=b.wav"
    assert jobs[4].audio == Voices.of_selected("largest", tmp_path / "a.wav", tmp_path / "mix.wav")
    assert jobs[5].audio == Voices.of_selected("speaker", tmp_path / "a.wav")


def test_lines_name_occluders_which_no_job_overwrites(tmp_path: Path):
    header = "video_path,audio_path,video_out_path,occluder"
    jobs = write_and_read(tmp_path, header, "v.mp4,a.wav,1.mp4,masks", "v.mp4,a.wav,2.mp4,auto", "v.mp4,a.wav,3.mp4,")
    assert [occluder_of(job) for job in jobs] == [str(tmp_path / "masks"), "auto", None]
    with pytest.raises(InputError, match="is also an input"):
        write_and_read(tmp_path, header, "v.mp4,a.wav,1.mp4,m.mp4", "v.mp4,a.wav,m.mp4,")


@pytest.mark.parametrize("line", ["v.mp4,left=a.wav,1.mp4,right,", "v.mp4,left=a.wav;left=b.wav,1.mp4,,"])
def test_lines_that_contradict_themselves_are_named(tmp_path: Path, line: str):
    with pytest.raises(InputError, match="entry 1"):
        write_and_read(tmp_path, "video_path,audio_path,video_out_path,face,sound", line)


def write_and_read(folder: Path, *lines: str) -> list[VideoJob]:
    path = folder / "jobs.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_jobs(path)
