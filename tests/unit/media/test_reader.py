"""Frames at a constant rate, upright, in true colours, from every kind of file."""

import logging
import math
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from tests.unit.media.conftest import HEIGHT, WIDTH, MakeClip, ffmpeg, frame_number


def read(path: Path, **options) -> list[NDArray[np.uint8]]:
    with VideoReader(path, **options) as reader:
        return list(reader)


def test_native_rate_returns_every_frame(make_clip: MakeClip) -> None:
    frames = read(make_clip("a.mp4"), fps=None)
    assert [frame_number(frame) for frame in frames] == list(range(60))
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    assert frames[0].dtype == np.uint8


@pytest.mark.parametrize(("source", "wanted"), [("30", 25), ("50", 25), ("24000/1001", 25), ("12", 25), ("25", 30)])
def test_resampling_uses_the_nearest_frame(make_clip: MakeClip, source: str, wanted: int) -> None:
    """Frame n is returned from the grid point nearest to n / source (ties round up) until the next frame."""
    frames = read(make_clip("a.mp4", fps=source), fps=Fraction(wanted))
    ratio = Fraction(source) / wanted
    assert len(frames) == pytest.approx(float(60 / ratio), abs=1)
    expected = [min(math.ceil(ratio * (index + Fraction(1, 2))) - 1, 59) for index in range(len(frames))]
    assert [frame_number(frame) for frame in frames] == expected


def test_variable_frame_rate_keeps_timing(make_clip: MakeClip) -> None:
    """A clip that freezes for a second keeps its length, with the frame repeated."""
    path = make_clip("vfr.mp4", options=["-vf", "setpts='if(gte(N,30),N+30,N)/30/TB'"])
    numbers = [frame_number(frame) for frame in read(path)]
    assert len(numbers) == pytest.approx(75, abs=1)
    assert set(numbers[26:48]) <= {29, 30}
    assert numbers[-1] >= 58


def test_late_start_is_not_filled(make_clip: MakeClip, tmp_path: Path, click_wav: Path) -> None:
    path = tmp_path / "late.mkv"
    ffmpeg("-itsoffset", "0.7", "-i", str(make_clip("a.mp4")), "-i", str(click_wav), "-c:v", "copy", str(path))
    numbers = [frame_number(frame) for frame in read(path, fps=None)]
    assert len(numbers) == pytest.approx(60, abs=1)
    assert numbers[:5] == [0, 1, 2, 3, 4]


def test_limits(make_clip: MakeClip) -> None:
    path = make_clip("a.mp4")
    frames = read(path, max_frames=7, size=(50, 20))
    assert len(frames) == 7
    assert frames[0].shape == (20, 50, 3)


@pytest.mark.parametrize(
    ("size", "pixels"), [("98x62", "yuv420p10le"), ("98x62", "yuvj420p"), ("98x62", "yuv420p"), ("97x63", "yuv444p")]
)
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours(tmp_path: Path, size: str, pixels: str, matrix: str) -> None:
    path = tmp_path / "red.mp4"
    source = f"color=0xC83C14:s={size}:d=0.2:r=25,format=rgb24"
    value_range = "pc" if pixels == "yuvj420p" else "tv"
    conversion = f"scale=out_color_matrix={matrix}:out_range={value_range},format={pixels}"
    tags = ["-colorspace", matrix, "-color_range", value_range, "-qp", "4"]
    ffmpeg("-f", "lavfi", "-i", source, "-vf", conversion, "-c:v", "libx264", *tags, str(path))
    frames = read(path)
    assert len(frames) == 5
    width, height = (int(side) for side in size.split("x"))
    assert frames[0].shape == (height, width, 3)
    assert np.abs(frames[0][5:-5, 5:-5].astype(int) - (0xC8, 0x3C, 0x14)).max() <= 4


def test_hdr_tags_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mp4"
    tags = [
        "-pix_fmt",
        "yuv420p10le",
        "-colorspace",
        "bt2020nc",
        "-color_primaries",
        "bt2020",
        "-color_trc",
        "smpte2084",
    ]
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=64x64:d=0.2", "-c:v", "libx264", *tags, str(path))
    assert probe_video(path).color_transfer == "smpte2084"
    assert len(read(path)) == 5


def test_phone_rotation(make_clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    ffmpeg("-i", str(make_clip("a.mp4")), "-c", "copy", "-metadata:s:v:0", "rotate=90", str(path))
    frame = read(path, max_frames=1)[0]
    if frame.shape == (HEIGHT, WIDTH, 3):
        pytest.skip("this ffmpeg no longer writes rotation from metadata")
    assert frame.shape == (WIDTH, HEIGHT, 3)
    top = frame[:, :16] if frame[:, :16].std() < frame[:, 16:].std() else frame[:, 16:]
    assert top.shape == (WIDTH, 16, 3)


def test_wide_pixels_become_square(make_clip: MakeClip) -> None:
    frame = read(make_clip("a.mp4", options=["-vf", "setsar=2"]), max_frames=1)[0]
    assert frame.shape == (HEIGHT, 2 * WIDTH, 3)


def test_image_is_a_video_of_one_frame(make_clip: MakeClip, tmp_path: Path) -> None:
    ffmpeg("-i", str(make_clip("a.mp4")), "-frames:v", "1", str(tmp_path / "photo.png"))
    assert len(read(tmp_path / "photo.png")) == 1


def test_early_exit_ends_the_decoder(make_clip: MakeClip) -> None:
    with VideoReader(make_clip("a.mp4")) as reader:
        process = reader._process
        assert process is not None
        assert frame_number(next(iter(reader))) == 0
    assert process.returncode is not None
    assert not [thread for thread in threading.enumerate() if thread.name == "stderr"]


def test_close_from_another_thread_ends_the_loop(make_clip: MakeClip) -> None:
    with VideoReader(make_clip("a.mp4")) as reader:
        for _ in reader:
            closing = threading.Thread(target=reader.close)
            closing.start()
            closing.join()
    assert reader.num_read == 1


def test_needs_with(make_clip: MakeClip) -> None:
    with pytest.raises(ValueError, match="context manager"):
        next(iter(VideoReader(make_clip("a.mp4"))))


def test_frames_are_writable_and_independent(make_clip: MakeClip) -> None:
    frames = read(make_clip("a.mp4"), max_frames=2)
    frames[0][:] = 7
    assert (frames[1] != 7).any()


def test_damage_in_the_middle_logs_a_warning(make_clip: MakeClip, caplog: pytest.LogCaptureFixture) -> None:
    path = make_clip("a.mkv", options=["-g", "10"])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), VideoReader(path, fps=None) as reader:
        frames = list(reader)
    assert 20 < len(frames) <= 61
    assert f"is damaged: {len(frames)} frames were read" in caplog.text


def test_truncated_file_returns_its_frames(make_clip: MakeClip) -> None:
    path = make_clip("a.mkv", options=["-g", "10"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    numbers = [frame_number(frame) for frame in read(path, fps=None)]
    assert 15 < len(numbers) < 55
    assert numbers[:15] == list(range(15))


def test_many_messages_do_not_block_the_decoder(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of error messages, more than any pipe holds, before the frames."""
    path = make_clip("a.mp4")
    info = probe_video(path)
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' 'x' | fold >&2\nhead -c {3 * WIDTH * HEIGHT * 3} /dev/zero\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    with VideoReader(path, info=info) as reader:
        assert len(list(reader)) == 3


def test_real_clip(real_clips: Path) -> None:
    frames = read(real_clips / "woman_outdoor_25fps.mp4", max_frames=3)
    assert frames[2].shape == (1920, 1080, 3)
