from dataclasses import replace
from pathlib import Path

import pytest

from eval.pairs import Pair, read_pair_lists, read_pairs, write_pairs
from eval.run import limited
from latentsync.errors import InputError


def some_pair(folder: Path, name: str = "a", row: str = "model") -> Pair:
    return Pair(
        name,
        folder / "out" / "r.mp4",
        folder / "s.mp4",
        folder / "a, b.wav",
        None,
        folder / "r.json",
        "cross_audio",
        row,
    )


def test_a_written_list_reads_back_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pairs = [some_pair(tmp_path), replace(some_pair(tmp_path, "ünï"), reference=tmp_path / "ref.mp4")]
    file = tmp_path / "lists" / "pairs.csv"
    write_pairs(file, pairs)
    assert str(tmp_path) not in file.read_text()
    monkeypatch.chdir("/")
    read = read_pairs(file)
    assert [pair.result.resolve() for pair in read] == [pair.result for pair in pairs]
    assert [pair.audio.resolve() for pair in read] == [pair.audio for pair in pairs]
    assert read[0].reference is None
    assert read[1].reference is not None
    assert [pair.identity for pair in read] == [pair.identity for pair in pairs]


def test_only_four_columns_are_needed(tmp_path: Path):
    file = tmp_path / "pairs.csv"
    file.write_text("name,result,source,audio\nx,r.mp4,s.mp4,a.wav\n")
    assert read_pairs(file) == [Pair("x", tmp_path / "r.mp4", tmp_path / "s.mp4", tmp_path / "a.wav")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name,result,source\nx,r,s\n", "lacks the column audio"),
        ("name,result,source,audio,colour\nx,r,s,a,red\n", "unknown column 'colour'"),
        ("name,result,source,audio\n", "lists nothing"),
        ("name,result,source,audio\nx,,s,a\n", "entry 1: result is empty"),
        ("name,result,source,audio\n../x,r,s,a\n", "cannot name a file"),
        ("name,result,source,audio,protocol\nx,r,s,a,dubbing\n", "unknown protocol 'dubbing'"),
        ("name,result,source,audio,row\nx,r,s,a,my row\n", "the row 'my row'"),
        ("name,result,source,audio\nx,r,s,a\nx,q,s,a\n", "lists x twice"),
    ],
)
def test_a_wrong_list_is_refused_in_one_line(tmp_path: Path, content: str, words: str):
    file = tmp_path / "pairs.csv"
    file.write_text(content)
    with pytest.raises(InputError, match=words):
        read_pairs(file)
    with pytest.raises(InputError, match=r"missing\.csv"):
        read_pairs(tmp_path / "missing.csv")


def test_lists_of_several_systems_share_their_controls(tmp_path: Path):
    control = some_pair(tmp_path, row="source")
    write_pairs(tmp_path / "one.csv", [some_pair(tmp_path, row="old"), control])
    write_pairs(tmp_path / "deeper" / "two.csv", [some_pair(tmp_path, row="new"), control])
    merged = read_pair_lists([tmp_path / "one.csv", tmp_path / "deeper" / "two.csv"])
    assert [pair.row for pair in merged] == ["old", "source", "new"]
    write_pairs(tmp_path / "three.csv", [replace(control, result=tmp_path / "other.mp4")])
    with pytest.raises(InputError, match=r"three\.csv means another video"):
        read_pair_lists([tmp_path / "one.csv", tmp_path / "three.csv"])


def test_the_limit_counts_in_every_row(tmp_path: Path):
    pairs = [some_pair(tmp_path, name, row) for row in ("model", "source") for name in "abc"]
    assert [pair.name for pair in limited(pairs, 2)] == ["a", "b", "a", "b"]
    assert limited(pairs, 0) == pairs
