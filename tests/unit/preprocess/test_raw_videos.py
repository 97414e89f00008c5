import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from latentsync.data.clip_list import list_clips
from latentsync.errors import InputError
from latentsync.storage.content_cache import content_key
from preprocess.raw_videos import FileList, clean_name, raw_clip, scan_folder
from preprocess.store import content_keys
from preprocess.store.content_keys import ContentKeys


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def names(files: Iterator[Path] | object, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in files]  # type: ignore[attr-defined]


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_subfolders_are_searched(raw: Path, tmp_path: Path) -> None:
    for name in ("b.mp4", "a/x.MOV", "a/b/y.mkv", "-dash.mp4", "new\nline.mp4", "ü 'q\".webm", "a/x.ts"):
        write(raw / name)
    for name in ("note.txt", "a/none", ".hidden.mp4", ".folder/z.mp4"):
        write(raw / name)
    os.mkfifo(raw / "pipe.mp4")
    scan = scan_folder(raw, tmp_path / "out")
    found = names(scan, raw)
    assert found == ["-dash.mp4", "b.mp4", "new\nline.mp4", "ü 'q\".webm", "a/x.MOV", "a/x.ts", "a/b/y.mkv"]
    assert scan.num_others == 2
    assert names(scan, raw) == found, "it can be read again"


def test_links_are_followed_and_may_be_circular(raw: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "o.mp4")
    (raw / "file.mp4").symlink_to(outside)
    (raw / "folder").symlink_to(tmp_path / "outside")
    (raw / "again").symlink_to(raw)
    (raw / "sub").mkdir()
    (raw / "sub" / "up").symlink_to("..")
    (raw / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    assert names(scan_folder(raw, tmp_path / "out"), raw) == ["file.mp4", "folder/o.mp4"]


def test_a_folder_that_cannot_be_read_is_skipped(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(raw / "good" / "a.mp4")
    write(raw / "locked" / "b.mp4")
    real = os.scandir

    def scandir(folder: Path) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    scan = scan_folder(raw, tmp_path / "out")
    assert names(scan, raw) == ["good/a.mp4"]
    assert scan.unreadable == [raw / "locked"]


def test_the_output_folder_is_not_searched(raw: Path) -> None:
    write(raw / "a.mp4")
    write(raw / "out" / "resampled" / "b.mp4")
    assert names(scan_folder(raw, raw / "out"), raw) == ["a.mp4"]


@pytest.mark.parametrize("inner", [".", "raw"])
def test_raw_videos_in_the_output_folder_are_refused(raw: Path, inner: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lies in the output folder"):
        scan_folder(raw, raw if inner == "." else tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--input_dir"):
        scan_folder(tmp_path / "none", tmp_path / "out")


def test_a_list(tmp_path: Path) -> None:
    listed = write(tmp_path / "lists" / "a.txt", "\ufeffa b.mp4\n\n# no\n../c.bin\n/abs/d.mp4\n")
    folder = tmp_path / "lists"
    assert list(FileList(listed)) == [folder / "a b.mp4", folder / "../c.bin", Path("/abs/d.mp4")]
    assert list(FileList(listed)) == list_clips(listed), "the same file means the same in training"


def test_invalid_lists(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--input_list"):
        FileList(tmp_path / "none.txt")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="UTF-8"):
        list(FileList(tmp_path / "bytes"))


@pytest.mark.parametrize(
    ("stem", "clean"),
    [
        ("plain", "plain"),
        ("-rf", "rf"),
        ("..x", "x"),
        (" - .y ", "y"),
        ("a\nb\tc\u2028d\x85e", "a_b_c_d_e"),
        ("ü 'q\" 日本", "ü 'q\" 日本"),
        ("bad\udcff", "bad_"),
        ("...", "clip"),
        ("x" * 300, "x" * 60),
        ("日" * 60, "日" * 40),
        ("a" + "\U0001f600" * 60, "a" + "\U0001f600" * 29),
    ],
)
def test_clean_names(stem: str, clean: str) -> None:
    assert clean_name(stem) == clean


def test_different_files_of_equal_name_get_different_names() -> None:
    one, two = raw_clip(Path("/a/x.mp4"), "1" * 40), raw_clip(Path("/b/x.mp4"), "2" * 40)
    assert (one.name, two.name) == ("x-11111111", "x-22222222")
    assert (one.key, one.source, one.path) == ("1" * 40, "1" * 40, Path("/a/x.mp4"))


def test_content_keys_are_remembered(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(raw / f"{index}.mp4", f"text {index % 3}") for index in range(40)]
    index = tmp_path / "out" / "keys.sqlite"
    with ContentKeys(index) as keys:
        found = list(keys.of_files(files))
    assert found == [(file, content_key(file)) for file in files]
    read = []

    def hashing(path: Path) -> str:
        read.append(path)
        return content_key(path)

    monkeypatch.setattr(content_keys, "content_key", hashing)
    files[7].write_text("another text")
    with ContentKeys(index) as keys:
        assert dict(keys.of_files(files))[files[7]] == content_key(files[7])
    assert read == [files[7]]


def test_files_that_cannot_be_read_are_errors(raw: Path, tmp_path: Path) -> None:
    good, bad = write(raw / "a.mp4"), raw / "none.mp4"
    with ContentKeys(tmp_path / "keys.sqlite") as keys:
        (_, first), (path, second) = keys.of_files([good, bad])
        with pytest.raises(InputError, match=r"none.mp4"):
            keys.of_file(bad)
    assert first == content_key(good)
    assert path == bad
    assert isinstance(second, InputError)


def test_few_files_are_read_ahead(raw: Path, tmp_path: Path) -> None:
    taken = []

    def files() -> Iterator[Path]:
        for index in range(1000):
            taken.append(index)
            yield raw / f"{index}"

    with ContentKeys(tmp_path / "keys.sqlite") as keys, closing(keys.of_files(files())) as found:
        next(found)
    assert len(taken) < 50
