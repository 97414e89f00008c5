"""The app removes and serves only its own files, in its own subfolder of any folder of the user."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentsync.app.app_folders import APP_FOLDER, AppFolders
from latentsync.errors import InputError
from latentsync.jobs.folders import JOB_DATABASE
from latentsync.jobs.job import JobState
from tests.lock_holder import LOCKED_BY_APP, held_by_process

HOUR = 3600.0
HASH = "0a" * 32


def users_folder(folder: Path) -> dict[Path, str]:
    """Write files of the user, some of them at paths that older versions of the app used."""
    names = ["notes.txt", "thesis/ch1.txt", "jobs/letter.txt", f"jobs/{'0' * 32}/a.txt", f"{HASH}/video.mp4"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return content(folder)


def content(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file() and APP_FOLDER not in path.parts}


def upload(folders: AppFolders, name: str = "video.mp4", hashed: str = HASH) -> Path:
    path = folders.uploads / hashed / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("film")
    return path


def ended_job(folders: AppFolders) -> Path:
    folder = folders.new()
    folders.store.end(folder.name, JobState.DONE)
    return folder


def test_a_folder_of_the_user_is_not_changed(tmp_path: Path):
    before = users_folder(tmp_path)
    for _ in range(2):
        with AppFolders(tmp_path, keep_hours=1) as folders:
            ended_job(folders)
            folders.sweep(time.time() + 1000 * HOUR)
            assert not any(folders.may_be_read(path) for path in before)
    assert content(tmp_path) == before


def test_files_of_the_user_in_the_apps_folder_are_neither_removed_nor_served(tmp_path: Path):
    with AppFolders(tmp_path, keep_hours=1) as folders:
        names = [
            "letter.txt",
            "jobs/letter.txt",
            f"jobs/{'1' * 32}/letter.txt",
            "uploads/letter.txt",
            "uploads/a/b.txt",
        ]
        letters = [folders.root / name for name in names]
        for letter in letters:
            letter.parent.mkdir(exist_ok=True)
            letter.write_text("dear")
        folders.sweep(time.time() + 1000 * HOUR)
        assert [letter.read_text() for letter in letters] == ["dear"] * len(letters)
        assert not any(folders.may_be_read(letter) for letter in letters)


def test_the_check_writes_nothing(tmp_path: Path):
    AppFolders(tmp_path / "work").check_unused()
    assert list(tmp_path.iterdir()) == []


def test_only_old_entries_that_are_not_in_use_are_removed(tmp_path: Path):
    with AppFolders(tmp_path, keep_hours=1) as folders:
        finished, active = ended_job(folders), folders.new()
        uploaded, cut_off = upload(folders), folders.uploads / "tmpab12_cd9"
        cut_off.write_text("half a film")
        assert folders.sweep(time.time() + 0.9 * HOUR) == 0
        assert folders.sweep(time.time() + 1.1 * HOUR) == 3
        assert not finished.exists()
        assert not uploaded.parent.exists()
        assert not cut_off.exists()
        assert active.is_dir()


def test_an_upload_is_as_young_as_its_newest_file(tmp_path: Path):
    with AppFolders(tmp_path, keep_hours=1) as folders:
        os.utime(upload(folders).parent, (0, 0))
        assert folders.sweep() == 0


def test_job_folders_have_unguessable_names_and_are_private(tmp_path: Path):
    with AppFolders(tmp_path / "work") as folders:
        names = {folders.new().name for _ in range(20)}
        assert len(names) == 20
        assert all(len(name) == 32 for name in names)
        assert folders.root.stat().st_mode & 0o077 == 0


def test_an_upload_is_adopted_under_a_fixed_name(tmp_path: Path):
    with AppFolders(tmp_path / "work") as folders:
        given = upload(folders, "-rf $(x) ü.MP4")
        taken = folders.adopt(given, folders.new(), "video")
        assert taken.name == "video.mp4"
        given.unlink()
        assert taken.read_text() == "film"


def test_only_uploads_are_adopted(tmp_path: Path):
    (tmp_path / "secret.mp4").write_text("film")
    with AppFolders(tmp_path) as folders:
        for path in (tmp_path / "secret.mp4", folders.uploads / HASH, folders.uploads / HASH / "absent.mp4"):
            with pytest.raises(InputError, match="upload it again"):
                folders.adopt(path, folders.new(), "video")


def secret_behind_a_link(folders: AppFolders) -> Path:
    link = folders.uploads / HASH / "link.mp4"
    link.symlink_to("/etc/passwd")
    return link


def file_of_a_job(folders: AppFolders) -> Path:
    path = folders.new() / "video.mp4"
    path.write_text("film")
    return path


NOT_TO_BE_READ: list[Callable[[AppFolders], Path]] = [
    secret_behind_a_link,
    file_of_a_job,
    lambda folders: folders.root / ".latentsync.json",
    lambda folders: folders.root / ".latentsync.lock",
    lambda folders: folders.root / JOB_DATABASE,
    lambda folders: folders.root,
    lambda folders: folders.uploads / HASH,
    lambda folders: folders.uploads / HASH / "absent.mp4",
    lambda folders: folders.uploads / HASH / ".." / ".." / JOB_DATABASE,
    lambda folders: upload(folders, hashed=HASH.upper()),
    lambda folders: upload(folders, ".video.mp4.half"),
    lambda folders: Path(os.path.relpath(upload(folders))),
    lambda folders: Path("/etc/passwd"),
    lambda folders: Path("http://127.0.0.1/x"),
    lambda folders: Path("a\0b"),
    lambda folders: Path("x" * 5000),
    lambda folders: Path(""),
]


@pytest.mark.parametrize("path_in", NOT_TO_BE_READ)
def test_nothing_but_uploads_may_be_read(tmp_path: Path, path_in: Callable[[AppFolders], Path]):
    with AppFolders(tmp_path) as folders:
        (folders.jobs / "loop").symlink_to(folders.jobs / "loop")
        assert folders.may_be_read(upload(folders, "mine.mp4"))
        assert not folders.may_be_read(path_in(folders))


def test_a_link_instead_of_the_apps_folder_is_rejected(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / APP_FOLDER).symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="belongs to another user"):
        AppFolders(tmp_path / "work")


def test_a_link_in_a_world_writable_folder_is_rejected(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    (tmp_path / "tmp" / "work").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="belongs to another user"):
        AppFolders(tmp_path / "tmp" / "work")


def test_a_link_of_the_user_to_another_disk_is_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "real")
    with AppFolders(tmp_path / "work") as folders:
        assert folders.may_be_read(upload(folders))


def test_a_folder_of_that_name_with_files_of_the_user_is_refused(tmp_path: Path):
    (tmp_path / APP_FOLDER).mkdir()
    (tmp_path / APP_FOLDER / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="did not make: name another --work_dir"):
        AppFolders(tmp_path)
    assert (tmp_path / APP_FOLDER / "letter.txt").read_text() == "dear"


def test_a_file_instead_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "work").write_text("")
    with pytest.raises(InputError, match="--work_dir"):
        AppFolders(tmp_path / "work")


def test_a_second_app_in_the_same_folder_is_refused_in_one_line(tmp_path: Path):
    with held_by_process(tmp_path, LOCKED_BY_APP) as first:
        folders = AppFolders(tmp_path)
        for act in (folders.check_unused, folders.__enter__):
            with pytest.raises(
                InputError, match=f"in use by process {first.pid} .*: stop that program, or name another"
            ):
                act()
        first.communicate()
    with AppFolders(tmp_path):
        pass
