"""Files are named by what is in them."""

import os
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.storage import content_key as module
from latentsync.storage.content_key import content_key


def test_copies_share_a_key_and_other_bytes_do_not(tmp_path: Path) -> None:
    for name, content in (("a.mp4", b"x" * 3_000_000), ("b.mp4", b"x" * 3_000_000), ("c.mp4", b"x" * 2_999_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    first, second, third = (content_key(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert first == second != third
    assert len(first) == 40


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, index, read = tmp_path / "a.mp4", tmp_path / "index", []
    hash_file = module._hash
    monkeypatch.setattr(module, "_hash", lambda path: read.append(path) or hash_file(path))
    path.write_bytes(b"one")
    first = content_key(path, index)
    assert content_key(path, index) == first
    assert len(read) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert content_key(path, index) != first
    assert content_key(path, index) == content_key(path)


def test_a_damaged_index_is_no_obstacle(tmp_path: Path) -> None:
    path, index = tmp_path / "a.mp4", tmp_path / "index"
    path.write_bytes(b"one")
    key = content_key(path, index)
    for content in ("", "[]", '{"stamp": 3}'):
        next(index.rglob("*.json")).write_text(content)
        assert content_key(path, index) == key


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.mp4"):
        content_key(tmp_path / "gone.mp4")
