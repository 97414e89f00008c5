"""Parts cut from a clip, compared with the clip frame by frame and sample by sample."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import ToolError
from preprocess.steps.clip_files import ClipCutter
from tests.unit.preprocess.raw_clips import assert_is_a_clip, make_raw, noise, numbers, read_all, samples_of

NUM_FRAMES = 120


@pytest.mark.parametrize(
    "key_frames", [["-g", "250", "-bf", "3"], ["-x264-params", "open-gop=1:keyint=12:min-keyint=12:bframes=3"]]
)
def test_parts_have_exactly_the_frames_and_samples(tmp_path: Path, key_frames: list[str]) -> None:
    whole = make_raw(tmp_path / "-it's a clip.mp4", NUM_FRAMES, video=key_frames)
    frames, samples = read_all(whole), noise(NUM_FRAMES * 640)
    cutter = ClipCutter(whole, crf=10)
    for first, stop in ((0, 13), (13, 71), (71, 72), (101, 120)):
        part = tmp_path / f"-part {first}.mp4"
        cutter.cut(first, stop - first, part)
        assert numbers(part) == list(range(first, stop))
        assert_is_a_clip(part, stop - first)
        np.testing.assert_array_equal(samples_of(part), samples[first * 640 : stop * 640])
        for found, expected in zip(read_all(part), frames[first:stop], strict=True):
            assert np.abs(found.astype(int) - expected).mean() < 3


def test_the_same_part_is_the_same_file(tmp_path: Path) -> None:
    cutter = ClipCutter(make_raw(tmp_path / "whole.mp4", NUM_FRAMES), crf=10)
    for name in ("one.mp4", "two.mp4"):
        cutter.cut(60, 40, tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_part_beyond_the_end_is_an_error(tmp_path: Path) -> None:
    cutter = ClipCutter(make_raw(tmp_path / "whole.mp4", 30), crf=10)
    with pytest.raises(ToolError, match="20 of 25 frames"):
        cutter.cut(10, 25, tmp_path / "part.mp4")


@pytest.mark.parametrize("matrix", ["smpte170m", "bt709"])
def test_a_part_has_the_colours_of_the_clip(tmp_path: Path, matrix: str) -> None:
    name = {"smpte170m": "bt601", "bt709": "bt709"}[matrix]
    options = ["-vf", f"scale=out_color_matrix={name}", "-colorspace", matrix]
    whole = make_raw(tmp_path / "whole.mp4", 5, video=options)
    ClipCutter(whole, crf=4).cut(1, 3, tmp_path / "part.mp4")
    for found in read_all(tmp_path / "part.mp4"):
        np.testing.assert_allclose(found[40, 60].astype(int), (200, 40, 40), atol=4)
