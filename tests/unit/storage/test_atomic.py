from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.storage.atomic import StagedFiles, atomic_write


def test_the_file_appears_at_the_end_and_keeps_its_suffix(tmp_path: Path):
    target = tmp_path / "a b.png"
    with atomic_write(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_unchanged(tmp_path: Path, error: type[BaseException]):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


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
