"""Frames are read exactly by number."""

import builtins
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentsync.data.clip_check import TrainingClip
from latentsync.data.video_window import read_frames, read_video_facts
from latentsync.errors import InputError, ToolError
from latentsync.media.ffmpeg_tools import run_tool
from latentsync.media.reader import VideoReader
from tests.unit.data.clips import frame_number, make_clip


def test_the_clip_has_b_frames(clip: TrainingClip) -> None:
    shown = run_tool(["ffprobe", "-v", "error", "-show_entries", "frame=pict_type", "-of", "csv=p=0", str(clip.path)])
    assert "B" in shown


def test_windows_equal_sequential_decoding_wherever_they_begin(clip: TrainingClip) -> None:
    with VideoReader(clip.path) as reader:
        decoded = np.stack(list(reader))
    assert len(decoded) == 60
    for start in (0, 1, 17, 29, 30, 31, 44):
        window = read_frames(clip.path, range(start, start + 16), 64)
        assert [frame_number(frame) for frame in window] == list(range(start, start + 16))
        assert np.abs(window.astype(int) - decoded[start : start + 16]).mean() < 2


def test_frames_come_in_the_order_asked_for(clip: TrainingClip) -> None:
    wanted = [59, 0, 31, 31, 2]
    frames = read_frames(clip.path, wanted, 64)
    assert [frame_number(frame) for frame in frames] == wanted
    assert frames.dtype == np.uint8


@pytest.mark.parametrize("resolution", [32, 128])
def test_another_size_is_resized(clip: TrainingClip, resolution: int) -> None:
    frames = read_frames(clip.path, [5, 40], resolution)
    assert frames.shape == (2, resolution, resolution, 3)
    assert [frame_number(frame) for frame in frames] == [5, 40]


def test_video_facts(clip: TrainingClip, other_clip: TrainingClip) -> None:
    assert read_video_facts(clip.path) == (60, 64, 64, 25.0)
    assert read_video_facts(other_clip.path) == (40, 96, 96, 25.0)


def test_frames_beyond_the_end_and_lost_clips_are_named(clip: TrainingClip, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.mp4 has 60 frames, not 61"):
        read_frames(clip.path, [59, 60], 64)
    with pytest.raises(InputError, match=r"gone\.mp4 is missing"):
        read_frames(tmp_path / "gone.mp4", [0], 64)
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(InputError, match=r"text\.mp4 cannot be decoded"):
        read_frames(tmp_path / "text.mp4", [0], 64)


def test_a_clip_that_is_cut_off_later_is_an_error_not_a_loop(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.mp4", options=["-movflags", "+faststart"])
    assert len(read_frames(path, range(60), 64)) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut\.mp4 cannot be decoded"):
        read_frames(path, range(40, 60), 64)


def test_a_missing_decord_is_one_line_with_the_remedy(clip: TrainingClip, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refuse(name: str, *args: Any) -> Any:
        if name == "decord":
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.delitem(sys.modules, "decord", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ToolError, match="pip install decord"):
        read_frames(clip.path, [0], 64)
