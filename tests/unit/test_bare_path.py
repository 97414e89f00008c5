"""Optional programs are visible only to marked tests, and copies have the files of a clone."""

import os
import shutil
from pathlib import Path

import pytest

from tests.bare_path import OPTIONAL_PROGRAMS, bare_path, find_program
from tests.repository_copy import STAND_IN, add_stand_ins, is_stand_in


def program(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_only_the_hidden_programs_are_missing(tmp_path: Path):
    for name in ("both/espeak-ng", "both/ffmpeg", "other/git"):
        program(tmp_path / name)
    whole = os.pathsep.join(str(tmp_path / name) for name in ("both", "other", "nowhere"))
    links = tmp_path / "links"
    links.mkdir()
    bare = bare_path(links, whole, ["espeak-ng"])
    assert find_program("espeak", whole) == str(tmp_path / "both/espeak-ng")
    assert find_program("espeak", bare) is None
    assert shutil.which("ffmpeg", path=bare) == str(links / "0/ffmpeg")
    assert bare.split(os.pathsep)[1:] == whole.split(os.pathsep)[1:]


@pytest.fixture(scope="module")
def shared_path() -> str:
    return os.environ["PATH"]


@pytest.fixture(scope="module")
def speaking_path(espeak: str) -> str:
    return os.environ["PATH"]


@pytest.mark.needs_espeak
def test_a_marked_test_finds_its_program_and_no_other(shared_path: str):
    assert find_program("espeak", os.environ["PATH"])
    assert find_program("chromium", os.environ["PATH"]) is None
    assert find_program("espeak", shared_path) is None


def test_an_unmarked_test_finds_none(shared_path: str):
    for name in OPTIONAL_PROGRAMS:
        assert find_program(name, os.environ["PATH"]) is None
        assert find_program(name, shared_path) is None


def test_a_fixture_that_requests_a_program_finds_it(speaking_path: str, request: pytest.FixtureRequest):
    assert find_program("espeak", speaking_path)
    assert request.node.get_closest_marker("needs_espeak") is not None


def test_a_card_is_hidden_unless_asked_for():
    assert "CUDA_VISIBLE_DEVICES" in os.environ


def test_a_fresh_copy_has_the_demo_weights_only(fresh_copy: Path):
    assert {path.name for path in (fresh_copy / "checkpoints").iterdir()} == {"README.md", "demo"}
    assert (fresh_copy / "latentsync/weights.py").is_file()
    assert not (fresh_copy / ".git").exists()


def test_stand_ins_are_known(tmp_path: Path):
    add_stand_ins(tmp_path)
    assert is_stand_in(tmp_path / "latentsync_unet.pt")
    (tmp_path / "real.pt").write_bytes(b"x" + STAND_IN[1:])
    assert not is_stand_in(tmp_path / "real.pt")
    assert not is_stand_in(None)
