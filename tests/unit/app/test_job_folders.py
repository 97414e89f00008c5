import os
import time
from pathlib import Path

import pytest

from latentsync.app.job_folders import JobFolders
from latentsync.errors import InputError

HOUR = 3600.0


def test_only_what_is_old_and_not_in_use_goes(tmp_path: Path):
    folders = JobFolders(tmp_path / "work", keep_hours=1)
    example = folders.place_example(Path(__file__))
    finished, active = folders.new(), folders.new()
    folders.release(finished)
    upload = folders.root / "0a1b"
    upload.mkdir()
    (upload / "video.mp4").write_text("x")
    assert folders.sweep(time.time() + 0.9 * HOUR) == 0
    assert folders.sweep(time.time() + 1.1 * HOUR) == 2
    assert not finished.exists()
    assert not upload.exists()
    assert active.is_dir()
    assert example.read_bytes() == Path(__file__).read_bytes()


def test_a_folder_is_as_young_as_its_newest_file(tmp_path: Path):
    folders = JobFolders(tmp_path / "work", keep_hours=1)
    job = folders.new()
    folders.release(job)
    (job / "result.mp4").write_text("x")
    os.utime(job, (0, 0))
    assert folders.sweep() == 0


def test_jobs_have_names_nobody_can_guess_and_are_for_this_user_only(tmp_path: Path):
    folders = JobFolders(tmp_path / "work")
    names = {folders.new().name for _ in range(20)}
    assert len(names) == 20
    assert all(len(name) == 32 for name in names)
    assert folders.root.stat().st_mode & 0o077 == 0


def test_an_upload_is_taken_in_under_a_name_of_ours(tmp_path: Path):
    folders = JobFolders(tmp_path / "work")
    upload = tmp_path / "-rf $(x) ü.MP4"
    upload.write_text("film")
    taken = folders.adopt(upload, folders.new(), "video")
    assert taken.name == "video.mp4"
    upload.unlink()
    assert taken.read_text() == "film"


def test_somebody_elses_folder_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="somebody else"):
        JobFolders(tmp_path / "work")


def test_a_file_instead_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "work").write_text("")
    with pytest.raises(InputError, match="--work_dir"):
        JobFolders(tmp_path / "work")
