"""Only what the pipeline wrote is removed or replaced in an output folder."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.storage.owned_folder import MARKER
from preprocess.store.content_keys import ContentKeys, keys_path
from preprocess.store.manifest import Manifest, is_manifest, manifest_path
from preprocess.store.workspace import check_output, open_workspace

FOREIGN = ("notes.txt", "logs/2024-01-01.txt", ".work/thesis/ch1.txt", "manifest/1_x.sqlite", "a/all.txt")


def write(path: Path, text: str = "the user's") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_another_origin_is_refused_and_unchanged(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    before = files(tmp_path)
    for act in (check_output, lambda root: open_workspace(root).__enter__()):
        with pytest.raises(InputError, match=r"did not make: choose another --output_dir"):
            act(tmp_path)
    assert files(tmp_path) == before


def test_the_database_of_another_program_is_no_manifest(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, 1, "check")
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE records (thesis TEXT)")
        database.execute("CREATE TABLE letters (text TEXT)")
    before = files(tmp_path)
    with pytest.raises(InputError, match="did not make"):
        check_output(tmp_path)
    with pytest.raises(InputError, match="another program: move it away"):
        Manifest(path, tmp_path)
    assert Manifest.existing(tmp_path) == []
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", ["manifest", "keys"])
def test_the_output_of_an_older_version_is_adopted(tmp_path: Path, kind: str) -> None:
    if kind == "manifest":
        Manifest(manifest_path(tmp_path, 1, "broken"), tmp_path).close()
        assert is_manifest(manifest_path(tmp_path, 1, "broken"))
    else:
        with ContentKeys(keys_path(tmp_path)):
            pass
    write(tmp_path / "notes.txt")
    write(tmp_path / "logs" / "letter.txt")
    before = files(tmp_path)
    with open_workspace(tmp_path):
        assert (tmp_path / MARKER).is_file()
    assert before.items() <= files(tmp_path).items()


def test_only_logs_with_known_names_are_removed(tmp_path: Path) -> None:
    with open_workspace(tmp_path):
        pass
    kept = ("logs/notes.txt", "logs/actor_0/letter.txt", "logs/5_faces_0.txt.old", ".work/thesis.txt", "notes.txt")
    gone = ("logs/5_faces_0.txt", "logs/actor_0/worker_0/7_sync_0.txt", "logs/actor_1/worker_3/7_sync_0.txt")
    for name in (*kept, *gone):
        write(tmp_path / name)
    with open_workspace(tmp_path):
        there = set(files(tmp_path))
    assert set(kept) <= there
    assert not set(gone) & there
    assert not (tmp_path / "logs" / "actor_1").exists()


def test_a_link_in_the_logs_is_not_followed(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "out", write(tmp_path / "elsewhere" / "1_notes_2.txt")
    with open_workspace(root):
        pass
    (root / "logs").symlink_to(elsewhere.parent)
    with open_workspace(root):
        pass
    assert elsewhere.is_file()


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom preprocess.store.workspace import open_workspace\n"
        "with open_workspace(Path(sys.argv[1])) as workspace:\n"
        "    work = workspace.work('key')\n    work.mkdir()\n    (work / 'half').write_text('')\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert [path.name for path in tmp_path.glob(".latentsync-*/*/*")] == ["half"]
    with open_workspace(tmp_path):
        assert len(list(tmp_path.glob(".latentsync-*"))) == 1
    assert sorted(os.listdir(tmp_path)) == sorted([MARKER, ".latentsync.lock"])
