"""A file whose end could not be written is an error, whatever exit status ffmpeg ends with."""

import sys
from pathlib import Path

import pytest

from latentsync.errors import ToolError
from latentsync.media.ffmpeg import is_cut_short
from latentsync.media.written_file import write_file

SOURCE = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1"]


def test_a_file_is_written(tmp_path: Path):
    write_file([*SOURCE, str(tmp_path / "a.mp4")])
    assert (tmp_path / "a.mp4").stat().st_size > 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is of Linux")
@pytest.mark.parametrize("frames", ["1", "25"])
def test_a_full_disk_is_an_error(frames: str):
    with pytest.raises(ToolError, match="No space left on device"):
        write_file([*SOURCE, "-frames:v", frames, "-f", "rawvideo", "/dev/full"])


def test_the_words_of_ffmpeg_are_known():
    assert is_cut_short("Error writing trailer of a.mp4: Input/output error")
    assert is_cut_short("Error closing file a.s16: Input/output error")
    assert not is_cut_short("a.mp4: Invalid data found when processing input")
