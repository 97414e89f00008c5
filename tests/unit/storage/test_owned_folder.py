"""Ownership and locks of folders."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.storage.owned_folder import check_ownership, check_unlocked, claim_folder, locked
from latentsync.storage.temporary_files import temporary_path
from tests.lock_holder import held_by_process

REMEDY = "name another --work_dir"


def test_a_missing_or_empty_folder_is_claimed_and_may_be_claimed_again(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        claim_folder(folder, "app", REMEDY)
        (folder / "file").write_text("ours")
        claim_folder(folder, "app", REMEDY)


def test_checking_ownership_writes_nothing(tmp_path: Path):
    check_ownership(tmp_path / "a" / "b", "app", REMEDY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", ".latentsync.json", "jobs"])
def test_a_folder_with_foreign_files_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_text("the user's")
    for act in (check_ownership, claim_folder):
        with pytest.raises(InputError, match=REMEDY):
            act(tmp_path, "app", REMEDY)
    assert (tmp_path / name).read_text() == "the user's"
    assert len(list(tmp_path.iterdir())) == 1


def test_system_files_and_those_of_an_interrupted_claim_are_ignored(tmp_path: Path):
    (tmp_path / "lost+found").mkdir()
    for name in (".DS_Store", temporary_path(tmp_path / ".latentsync.json").name):
        (tmp_path / name).write_text("")
    claim_folder(tmp_path, "app", REMEDY)


def test_checking_the_lock_writes_nothing(tmp_path: Path):
    check_unlocked(tmp_path / "none", "wait")
    check_unlocked(tmp_path, "wait")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_program_is_refused(tmp_path: Path):
    claim_folder(tmp_path, "preprocess", REMEDY)
    with pytest.raises(InputError, match=r"another program \(preprocess\)"):
        claim_folder(tmp_path, "app", REMEDY)


def test_a_folder_of_an_older_version_is_adopted(tmp_path: Path):
    (tmp_path / "manifest").write_text("")
    claim_folder(tmp_path, "preprocess", REMEDY, lambda folder: (folder / "manifest").exists())
    claim_folder(tmp_path, "preprocess", REMEDY)


def test_a_file_in_the_way_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"file is a file, not a folder: {REMEDY}"):
        check_ownership(tmp_path / "file" / "below", "app", REMEDY)


def test_children_of_a_killed_run_are_waited_for(tmp_path: Path):
    program = (
        "import os, sys, time\nfrom pathlib import Path\nfrom latentsync.storage.owned_folder import locked\n"
        "with locked(Path(sys.argv[1]), 'wait'):\n"
        "    os.write(1, b'child\\n')\n    time.sleep(1)\n    os._exit(0)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # As if the holder were the child of a run that is gone.
        (tmp_path / ".latentsync.lock.owner").write_text(f"process 999999999 on {socket.gethostname()}\n")
        with locked(tmp_path, "wait"):
            pass


def test_one_run_at_a_time(tmp_path: Path):
    with held_by_process(tmp_path) as process:
        with pytest.raises(InputError, match=rf"in use by process {process.pid} on .*: wait"), locked(tmp_path, "wait"):
            pass
        with pytest.raises(InputError, match=rf"in use by process {process.pid} on .*: wait"):
            check_unlocked(tmp_path, "wait")
        process.kill()
    check_unlocked(tmp_path, "wait")
    with locked(tmp_path, "wait"):
        pass
