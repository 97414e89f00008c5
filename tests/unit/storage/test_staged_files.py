from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.storage.staged_files import StagedFiles


def test_staged_files_get_their_names_together(tmp_path: Path):
    first, second = tmp_path / "new" / "first", tmp_path / "new" / "second"
    with StagedFiles([first, second]) as staged:
        staged.path_of(first).write_text("1")
        assert not first.exists()
        staged.path_of(second).write_text("2")
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {"first": "1", "second": "2"}


def write_staged(paths: list[Path], error: Exception | None = None, blocked: Path | None = None) -> None:
    with StagedFiles(paths) as staged:
        for path in paths:
            staged.path_of(path).write_text("after")
        if blocked is not None:
            blocked.mkdir()
        if error is not None:
            raise error


def test_after_an_error_nothing_is_left_and_nothing_is_lost(tmp_path: Path):
    (tmp_path / "old").write_text("before")
    new = tmp_path / "a" / "b" / "new"
    with pytest.raises(RuntimeError):
        write_staged([tmp_path / "old", new], RuntimeError())
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "before"


def test_if_one_cannot_get_its_name_the_others_are_as_before(tmp_path: Path):
    old, fresh, blocked = tmp_path / "old", tmp_path / "fresh", tmp_path / "blocked"
    old.write_text("before")
    with pytest.raises(InputError, match="blocked cannot be written"):
        write_staged([old, fresh, blocked], blocked=blocked)
    assert old.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "old"]
