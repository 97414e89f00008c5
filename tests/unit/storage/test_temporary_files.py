"""Leftovers of killed processes are removed, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentsync.storage.atomic import atomic_write
from latentsync.storage.temporary_files import _host_hash, remove_leftovers, temporary_folder, temporary_path

_KILLED = """
import os, signal, sys
from pathlib import Path
from latentsync.storage.temporary_files import temporary_folder, temporary_path
temporary_path(Path(sys.argv[1]) / "video.mp4").write_text("half")
with temporary_folder(sys.argv[1]) as folder:
    (folder / "frames").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".latentsync-")]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path):
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert len(_hidden(tmp_path)) == 2
    assert remove_leftovers(tmp_path) == 2
    assert not _hidden(tmp_path)


def test_the_next_file_written_there_removes_leftovers(tmp_path: Path):
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    with atomic_write(tmp_path / "next.txt") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["next.txt"]


def test_files_of_a_process_that_runs_stay(tmp_path: Path):
    program = _KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "print(flush=True); sys.stdin.read()")
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert remove_leftovers(tmp_path) == 0
        assert len(_hidden(tmp_path)) == 2
        process.communicate()


@pytest.mark.parametrize(
    "name",
    [
        ".latentsync-notes.txt",
        ".latentsync-00000000-999999999-abc-0123456789ab.mp4",  # of another user or machine
        "latentsync-{host}-999999999-abc-0123456789ab.mp4",
        ".latentsync-{host}-999999999-abc-0123456789ab.tar.gz",
        ".latentsync-{host}-{own}-0-0123456789ab-kept",
    ],
)
def test_other_names_are_not_touched(tmp_path: Path, name: str):
    path = tmp_path / name.format(host=_host_hash(), own=os.getpid())
    path.write_text("the user's")
    assert remove_leftovers(tmp_path) == 0
    assert path.read_text() == "the user's"


def test_a_reused_process_id_does_not_protect_a_leftover(tmp_path: Path):
    left = tmp_path / f".latentsync-{_host_hash()}-{os.getpid()}-abc-0123456789ab.mp4"
    left.write_text("half")
    assert remove_leftovers(tmp_path) == 1


def test_a_link_is_removed_and_its_target_stays(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "letter.txt").write_text("the user's")
    (tmp_path / f".latentsync-{_host_hash()}-999999999-abc-0123456789ab").symlink_to(tmp_path / "kept")
    assert remove_leftovers(tmp_path) == 1
    assert (tmp_path / "kept" / "letter.txt").read_text() == "the user's"


def test_a_temporary_folder_is_removed_at_the_end_and_after_an_error(tmp_path: Path):
    with temporary_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("b")
    with pytest.raises(RuntimeError), temporary_folder(tmp_path / "new") as folder:
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []


def test_names_are_short_for_long_names(tmp_path: Path):
    path = temporary_path(tmp_path / ("n" * 250 + ".mp4"))
    assert path.suffix == ".mp4"
    assert len(path.name) < 100


def test_leftovers_of_a_zombie_process_are_removed(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the process table
        assert len(_hidden(tmp_path)) == remove_leftovers(tmp_path) == 2
