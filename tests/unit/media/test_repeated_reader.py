"""Reading a video repeatedly: the order, and bit-identical frames in every kind of file."""

import zlib
from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.media.reader import VideoReader
from latentsync.media.repeated_reader import Repeat, RepeatedReader, source_index
from tests.unit.media.conftest import HEIGHT, WIDTH, MakeClip

FRAME_BYTES = WIDTH * HEIGHT * 3


def test_order() -> None:
    assert [source_index(index, 4) for index in range(14)] == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]
    assert [source_index(index, 2) for index in range(5)] == [0, 1, 0, 1, 0]
    assert [source_index(index, 1) for index in range(3)] == [0, 0, 0]


def test_order_of_loop_and_freeze() -> None:
    assert [source_index(index, 3, Repeat.LOOP) for index in range(8)] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [source_index(index, 3, Repeat.FREEZE) for index in range(8)] == [0, 1, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize(("count", "total"), [(1, 4), (7, 25), (7, 7), (7, 5)])
def test_every_mode_returns_the_frames_of_its_order(
    make_clip: MakeClip, tmp_path: Path, repeat: Repeat, count: int, total: int
) -> None:
    path = make_clip("modes.mp4", num_frames=count, fps="25", options=[])
    with VideoReader(path, Fraction(25)) as reader:
        expected = [zlib.crc32(frame) for frame in reader]
    assert len(set(expected)) == count
    with RepeatedReader(path, Fraction(25), count, total, tmp_path, 3 * FRAME_BYTES, repeat) as reader:
        shown = [(index, zlib.crc32(frame)) for index, frame in reader]
    order = [source_index(index, count, repeat) for index in range(total)]
    assert shown == [(index, expected[index]) for index in order]


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize(("count", "first", "total"), [(1, 3, 5), (7, 4, 7), (7, 6, 9), (7, 9, 12), (7, 14, 26)])
def test_reading_may_start_anywhere(
    make_clip: MakeClip, tmp_path: Path, repeat: Repeat, count: int, first: int, total: int
) -> None:
    path = make_clip("modes.mp4", num_frames=count, fps="25", options=[])
    with VideoReader(path, Fraction(25)) as reader:
        expected = [zlib.crc32(frame) for frame in reader]
    shape = tmp_path, 3 * FRAME_BYTES, repeat
    with RepeatedReader(path, Fraction(25), count, total, *shape, first_frame=first) as reader:
        shown = [(index, zlib.crc32(frame)) for index, frame in reader]
    order = [source_index(index, count, repeat) for index in range(first, total)]
    assert shown == [(index, expected[index]) for index in order]


@pytest.mark.parametrize("repeat", [Repeat.LOOP, Repeat.FREEZE])
def test_modes_without_backward_reading_need_no_disk(
    make_clip: MakeClip, tmp_path: Path, repeat: Repeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip("modes.mp4", num_frames=7, fps="25", options=[])
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: pytest.fail("a temporary file was made"))
    with RepeatedReader(path, Fraction(25), 7, 30, tmp_path, repeat=repeat) as reader:
        assert len(list(reader)) == 30
        assert not reader._checksums


def test_held_frames_have_their_own_memory(make_clip: MakeClip) -> None:
    """A frame may be changed in place without effect on those that follow."""
    path = make_clip("modes.mp4", num_frames=2, fps="25", options=[])
    with RepeatedReader(path, Fraction(25), 2, 5, repeat=Repeat.FREEZE) as reader:
        held = [frame for _, frame in reader][1:]
    assert len({frame.ctypes.data for frame in held}) == len(held)
    assert len({zlib.crc32(frame) for frame in held}) == 1


def test_order_with_repeated_turns() -> None:
    assert [source_index(index, 3, repeat=Repeat.BOUNCE_TWICE) for index in range(10)] == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2]
    assert [source_index(index, 1, repeat=Repeat.BOUNCE_TWICE) for index in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 7])
def test_frames_with_repeated_turns(make_clip: MakeClip, tmp_path: Path, count: int) -> None:
    path = make_clip("turns.mp4", num_frames=count, fps="25", options=[])
    with VideoReader(path, Fraction(25)) as reader:
        expected = [zlib.crc32(frame) for frame in reader]
    assert len(expected) == count
    with RepeatedReader(
        path, Fraction(25), count, 4 * count, tmp_path, 3 * FRAME_BYTES, repeat=Repeat.BOUNCE_TWICE
    ) as reader:
        shown = [(index, zlib.crc32(frame)) for index, frame in reader]
    order = [*range(count), *reversed(range(count))] * 2
    assert shown == [(index, expected[index]) for index in order]


def test_order_rejects_invalid_arguments() -> None:
    with pytest.raises(ValueError, match="does not exist"):
        source_index(-1, 4)
    with pytest.raises(ValueError, match="does not exist"):
        source_index(0, 0)


VARIABLE = ["-vf", "setpts='(N+0.45*mod(N,3)+7*gte(N,50))/30/TB'"]
FILES = {
    "30fps": ("a.mp4", "30", []),
    "b_frames": ("a.mp4", "30", ["-bf", "8", "-b_strategy", "0", "-g", "250"]),
    "open_groups": ("a.mp4", "30", ["-x264-params", "open-gop=1:keyint=12:bframes=4"]),
    "variable": ("a.mp4", "30", VARIABLE),
    "ntsc": ("a.mp4", "30000/1001", ["-g", "15"]),
    "50fps": ("a.mp4", "50", []),
    "slow": ("a.mp4", "12", []),
    "mkv": ("a.mkv", "30", VARIABLE),
    "ts": ("a.ts", "30", []),
    "avi": ("a.avi", "30", []),
    "raw": ("a.h264", "30", []),
}


@pytest.mark.parametrize("kind", FILES)
def test_backward_frames_equal_forward_frames(make_clip: MakeClip, tmp_path: Path, kind: str) -> None:
    name, rate, options = FILES[kind]
    fps = None if kind == "variable" else Fraction(25)
    path = make_clip(name, num_frames=100, fps=rate, options=options)
    with VideoReader(path, fps) as reader:
        expected = [zlib.crc32(frame) for frame in reader]
    count = len(expected)
    total = 2 * count + 20
    folder = tmp_path / "temporary"
    folder.mkdir()
    with RepeatedReader(path, fps, count, total, folder, block_bytes=37 * FRAME_BYTES) as reader:
        shown = [(index, zlib.crc32(frame)) for index, frame in reader]
    assert shown == [(source_index(index, count), expected[source_index(index, count)]) for index in range(total)]
    assert list(folder.iterdir()) == []
    assert reader._can_seek == (name not in ("a.h264", "a.avi"))  # these two store no usable time stamps


def test_inexact_seeks_are_detected(
    make_clip: MakeClip, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose seeks land one frame late still gives the right frames."""
    path = make_clip("a.mp4", num_frames=50, fps="25")
    build = VideoReader._command

    def late(reader: VideoReader) -> list[str]:
        return [part.replace("trim=start_pts=", "trim=start_pts=1") for part in build(reader)]

    monkeypatch.setattr(VideoReader, "_command", late)
    with RepeatedReader(path, Fraction(25), 50, 130, block_bytes=20 * FRAME_BYTES) as reader:
        shown = {}
        for index, frame in reader:
            assert shown.setdefault(index, zlib.crc32(frame)) == zlib.crc32(frame)
    assert caplog.text.count("cannot be searched") == 1


@pytest.mark.parametrize(("count", "total"), [(1, 5), (2, 7), (30, 30), (30, 12), (30, 0), (30, 31)])
def test_exact_number(make_clip: MakeClip, count: int, total: int) -> None:
    with RepeatedReader(make_clip("a.mp4", num_frames=30, fps="25"), None, count, total) as reader:
        assert [index for index, _ in reader] == [source_index(index, count) for index in range(total)]


def test_only_the_frames_that_are_shown_backwards_are_read_again(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[tuple[int, int]] = []
    fill = RepeatedReader._fill_block

    def spy(reader: RepeatedReader, start: int, stop: int) -> None:
        blocks.append((start, stop))
        fill(reader, start, stop)

    monkeypatch.setattr(RepeatedReader, "_fill_block", spy)
    path = make_clip("a.mp4", num_frames=30, fps="25")
    with RepeatedReader(path, None, 30, 35) as reader:
        frames = [zlib.crc32(frame) for _, frame in reader]
    assert blocks == [(24, 29)]
    assert frames[30:] == frames[28:23:-1]


def test_early_exit_leaves_no_file(make_clip: MakeClip, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with RepeatedReader(make_clip("a.mp4"), None, 60, 500, folder) as reader:
        for position, _ in enumerate(reader):
            if position == 80:
                break
    assert list(folder.iterdir()) == []


def test_fewer_frames_than_stated(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4", num_frames=10)
    with RepeatedReader(path, None, 20, 40) as reader, pytest.raises(InputError, match="10 of 20"):
        list(reader)
