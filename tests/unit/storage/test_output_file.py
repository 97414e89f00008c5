"""Output files never replace an input, and are written atomically."""

import os
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.storage.output_file import atomic_output, check_no_inputs, check_output_file


def test_an_input_under_any_name_is_refused(tmp_path: Path):
    given = tmp_path / "given.json"
    given.write_text("the user's")
    (tmp_path / "link.json").symlink_to(given)
    os.link(given, tmp_path / "second.json")
    (tmp_path / "folder").mkdir()
    for name in ("given.json", "link.json", "second.json", "folder/../given.json"):
        with pytest.raises(InputError, match="is also an input: name another --out"):
            check_output_file(tmp_path / name, [given])
    with pytest.raises(InputError, match="also an input"):
        check_no_inputs([tmp_path / "not there"], [tmp_path / "folder" / ".." / "not there"])
    check_output_file(tmp_path / "other.json", [given])


def test_an_unwritable_path_is_one_line_and_leaves_nothing(tmp_path: Path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    cases = {
        "a.txt": "ends in .md or .json",
        "file/a.md": "file is a file, not a folder",
        "x" * 300 + ".md": "more than 255 bytes",
        "pipe": "ends in",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as raised:
            check_output_file(tmp_path / name, [], suffixes=(".md", ".json"))
        assert "\n" not in str(raised.value)
    for name, message in (("", "is a folder"), ("pipe", "is a pipe or a device")):
        with pytest.raises(InputError, match=message):
            check_output_file(tmp_path / name, [])
    assert sorted(tmp_path.iterdir()) == before


def fill_the_disk(path: Path) -> None:
    with atomic_output(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")


def test_after_an_error_the_old_file_is_unchanged(tmp_path: Path):
    path = tmp_path / "a" / "report.json"
    with atomic_output(path) as temporary:
        temporary.write_text("first")
    with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        fill_the_disk(path)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]
