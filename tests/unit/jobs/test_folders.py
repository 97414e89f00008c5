"""Only the folders of recorded jobs that have ended are removed, by age and by space."""

import sqlite3
import time
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.jobs.folders import JOB_DATABASE, JobFolders
from latentsync.jobs.job import JobState

HOUR = 3600.0
PROGRAM = "latentsync-test"


def opened(folder: Path, **limits: float) -> JobFolders:
    return JobFolders(folder, **{"keep_hours": 1, **limits}, program="test")


def ended_job(folders: JobFolders, num_bytes: int = 0, state: JobState = JobState.DONE) -> Path:
    folder = folders.new()
    (folder / "result.mp4").write_bytes(b"x" * num_bytes)
    folders.store.end(folder.name, state)
    return folder


def test_results_expire_by_age_and_their_records_tell_so(tmp_path: Path):
    with opened(tmp_path) as folders:
        job, receiving = ended_job(folders), folders.new()
        assert folders.sweep(time.time() + 0.9 * HOUR) == 0
        assert folders.sweep(time.time() + 1.1 * HOUR) == 1
        assert (job.exists(), receiving.exists()) == (False, True)
        record = folders.store.get(job.name)
        assert record is not None
        assert (record.state, record.has_files) == (JobState.DONE, False)
        folders.sweep(time.time() + 24 * 40 * HOUR)
        assert folders.store.get(job.name) is None


def test_the_oldest_results_expire_when_space_is_short(tmp_path: Path):
    with opened(tmp_path, keep_bytes=2500) as folders:
        jobs = [ended_job(folders, 1000) for _ in range(4)]
        unfinished = folders.new()
        (unfinished / "video.mp4").write_bytes(b"x" * 10000)
        assert folders.sweep() == 2
        assert [job.exists() for job in jobs] == [False, False, True, True]
        assert unfinished.exists()


def test_files_that_were_not_recorded_stay(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("dear")
    with opened(tmp_path, keep_bytes=1) as folders:
        other = folders.jobs / ("1" * 32)
        other.mkdir()
        ended_job(folders, 10)
        folders.sweep(time.time() + 1000 * HOUR)
        assert other.is_dir()
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_what_a_killed_process_was_receiving_is_removed_at_the_next_start(tmp_path: Path):
    with opened(tmp_path) as folders:
        cut_off, done = folders.new(), ended_job(folders)
        (cut_off / "video.mp4").write_text("half")
    with opened(tmp_path) as folders:
        assert (cut_off.exists(), done.exists()) == (False, True)
        assert folders.store.get(cut_off.name) is None


@pytest.mark.parametrize("name", ["../..", "..", "/etc", "letter.txt", "", "x" * 40])
def test_a_record_with_another_name_removes_nothing(tmp_path: Path, name: str):
    with opened(tmp_path) as folders:
        (folders.jobs / "letter.txt").write_text("dear")
        folders.store.create(name, "page")
        folders.store.end(name, JobState.DONE)
        folders.sweep(time.time() + 1000 * HOUR)
        assert (folders.jobs / "letter.txt").read_text() == "dear"
        assert folders.root.is_dir()


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_database_is_refused_or_started_anew_and_removes_nothing(tmp_path: Path, content: bytes):
    with opened(tmp_path) as folders:
        job = ended_job(folders)
    (folders.root / JOB_DATABASE).write_bytes(content)
    if content:
        with pytest.raises(InputError, match=r"cannot be used .* name another --work_dir"), opened(tmp_path):
            pytest.fail("a damaged database was used")
    else:
        with opened(tmp_path) as folders:
            folders.sweep(time.time() + 1000 * HOUR)
    assert job.is_dir()


def test_a_database_of_another_version_is_refused(tmp_path: Path):
    with opened(tmp_path) as folders:
        pass
    with sqlite3.connect(folders.root / JOB_DATABASE) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InputError, match="another version"), opened(tmp_path):
        pytest.fail("it was used")


@pytest.mark.parametrize("limits", [{"keep_hours": 0}, {"keep_hours": float("nan")}, {"keep_bytes": 0}])
def test_limits_must_be_positive(tmp_path: Path, limits: dict[str, float]):
    with pytest.raises(InputError, match="must be positive"):
        opened(tmp_path, **limits)
    assert list(tmp_path.iterdir()) == []
