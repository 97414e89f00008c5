"""Outputs of a job: determined and checked before the work, without overwriting other files."""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import InputError
from latentsync.media.writer import MADE_BY, MADE_RESULT, VideoWriter
from latentsync.pipelines.contact_sheet import ContactSheet
from latentsync.pipelines.lipsync_job import LipsyncOutputs, check_distinct


def outputs(path: Path, compare: bool = True) -> LipsyncOutputs:
    return LipsyncOutputs.of(path, compare, with_record=True)


def test_names_of_the_outputs(tmp_path: Path):
    names = [path.name for path in outputs(tmp_path / "talk.mov").all()]
    assert names == ["talk.mov", "talk_sheet.png", "talk_compare.mov", "talk.mov.lipsync.json"]


@pytest.mark.parametrize("name", ["", ".", "/", "..", "r.txt", "r", "r.mp3", "a\0b.mp4"])
def test_a_name_that_is_not_of_a_video_is_rejected(name: str):
    with pytest.raises(InputError, match=r"is a folder|ends in \.mp4|not a valid file name"):
        LipsyncOutputs.of(Path(name), compare=False)


def test_the_check_leaves_nothing_behind(tmp_path: Path):
    outputs(tmp_path / "a" / "b" / "talk.mp4").check([])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["_sheet.png", "_compare.mp4", ".mp4.lipsync.json"])
def test_a_file_beside_the_result_that_the_program_did_not_make_is_not_replaced(tmp_path: Path, suffix: str):
    (tmp_path / f"talk{suffix}").write_text("the user's")
    with pytest.raises(InputError, match=f"talk{suffix} exists and was not made by this program"):
        outputs(tmp_path / "talk.mp4").check([])


def test_a_result_that_nobody_named_is_replaced_only_if_the_program_made_it(tmp_path: Path):
    path = tmp_path / "video_out.mp4"
    unnamed, named = (LipsyncOutputs.of(path, compare=False, is_named=is_named) for is_named in (False, True))
    frame = np.zeros((64, 64, 3), np.uint8)
    for comment, is_refused in ((None, True), (MADE_BY, True), (MADE_RESULT, False)):
        with VideoWriter(path, 64, 64, 25, comment=comment) as writer:
            writer.write(frame)
        named.check([])
        with pytest.raises(InputError, match="name --video_out_path") if is_refused else nullcontext():
            unnamed.check([])


def test_an_image_of_the_user_is_not_replaced_and_a_sheet_is(tmp_path: Path):
    files = outputs(tmp_path / "talk.mp4")
    Image.new("RGB", (8, 8)).save(files.sheet)
    with pytest.raises(InputError, match="not made by this program"):
        files.check([])
    files.sheet.unlink()
    sheet = ContactSheet(1, 64)
    frame = np.zeros((64, 64, 3), np.uint8)
    sheet.add(0, frame, frame, ())
    sheet.write(files.sheet)
    files.check([])


def test_an_input_is_never_an_output_under_any_name(tmp_path: Path):
    (tmp_path / "film.mp4").write_text("the user's")
    (tmp_path / "link.mp4").symlink_to("film.mp4")
    for name in ("film.mp4", "link.mp4", "a/../film.mp4"):
        (tmp_path / "a").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="is also an input"):
            outputs(tmp_path / name).check([tmp_path / "film.mp4"])


@pytest.mark.parametrize(
    ("names", "inputs", "said"),
    [
        (["a.mp4", "a.mkv"], [], r"two jobs write to .*a_sheet\.png \(a\.mp4 and a\.mkv\)"),
        (["talk.mp4", "out2.mp4"], ["talk_compare.mp4"], r"talk_compare\.mp4 is also an input"),
        (["talk.mp4", "talk_compare.mp4"], [], "two jobs write to .*talk_compare.mp4"),
        (["a.mp4", "b.mp4"], ["b.mp4.lipsync.json"], "is also an input"),
        (["a.mp4", "sub/../a.mp4"], [], "two jobs write to"),
    ],
)
def test_jobs_of_a_list_must_not_write_to_the_same_files(
    tmp_path: Path, names: list[str], inputs: list[str], said: str
):
    jobs = [outputs(tmp_path / name) for name in names]
    with pytest.raises(InputError, match=said):
        check_distinct(jobs, [tmp_path / name for name in inputs], "jobs.csv")


def test_a_path_that_cannot_be_written_is_rejected_before_the_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file, not a folder"):
        outputs(tmp_path / "file" / "talk.mp4").check([])
    with pytest.raises(InputError, match="cannot write to"):
        outputs(Path("/proc/nowhere/talk.mp4")).check([])
    os.mkfifo(tmp_path / "talk.mp4")
    with pytest.raises(InputError, match="is a pipe or a device"):
        outputs(tmp_path / "talk.mp4").check([])
