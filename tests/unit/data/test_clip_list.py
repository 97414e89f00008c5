"""Clips come from a folder or a list file."""

from pathlib import Path

import pytest

from latentsync.data.clip_list import list_clips
from latentsync.errors import InputError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_gives_its_visible_videos_sorted_at_any_depth(tmp_path: Path) -> None:
    wanted = [tmp_path / "a" / "z.mp4", tmp_path / "b.MOV", tmp_path / "b" / "c" / "ü 1.mkv"]
    touch(*reversed(wanted), tmp_path / ".hidden.mp4", tmp_path / ".cache" / "x.mp4", tmp_path / "notes.txt")
    (tmp_path / "folder.mp4").mkdir()
    assert list_clips(tmp_path) == sorted(wanted)


def test_a_hidden_folder_above_the_source_does_not_matter(tmp_path: Path) -> None:
    touch(tmp_path / ".data" / "a.mp4")
    assert list_clips(tmp_path / ".data") == [tmp_path / ".data" / "a.mp4"]


def test_a_list_file_gives_paths_relative_to_its_folder_in_its_order(tmp_path: Path) -> None:
    content = "\ufeffz/b.mp4\n\n# comment\n /abs/a.mp4 \nz/b.mp4\nno such thing.mp4\n"
    (tmp_path / "list.txt").write_text(content, encoding="utf-8")
    assert list_clips(tmp_path / "list.txt") == [
        tmp_path / "z/b.mp4",
        Path("/abs/a.mp4"),
        tmp_path / "no such thing.mp4",
    ]


def test_nothing_to_list_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "binary.mp4").write_bytes(b"\xff\xfe\x00\x80")
    for source in (tmp_path, tmp_path / "empty.txt", tmp_path / "gone", tmp_path / "binary.mp4"):
        if source == tmp_path:
            (tmp_path / "folder").mkdir()
            source = tmp_path / "folder"
        with pytest.raises(InputError) as caught:
            list_clips(source)
        assert source.name in str(caught.value)
        assert "\n" not in str(caught.value)
