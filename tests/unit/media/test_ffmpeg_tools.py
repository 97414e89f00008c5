"""Finding and running ffmpeg and ffprobe."""

import os
import signal
import sys
from pathlib import Path

import pytest

from latentsync.errors import ToolError
from latentsync.media.ffmpeg_tools import ToolFailedError, file_url, find_tool, is_cut_short, last_line, run_tool

SOURCE = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=1"]


def test_missing_tool_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"ffmpeg was not found: run `source setup_env.sh`"):
        find_tool("ffmpeg")


@pytest.mark.parametrize(
    ("number", "is_outside"), [(signal.SIGKILL, True), (signal.SIGTERM, True), (signal.SIGSEGV, False)]
)
def test_a_program_that_the_system_killed_says_nothing_about_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, is_outside: bool
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nkill -{int(number)} $$\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ToolError) as caught:
        run_tool(["ffmpeg", "-version"])
    assert isinstance(caught.value, ToolFailedError) is not is_outside
    assert ("free some memory" in str(caught.value)) is is_outside


def test_run_tool_returns_what_was_printed() -> None:
    assert run_tool(["ffmpeg", "-version"]).startswith("ffmpeg version")


def test_error_ends_with_the_last_line_of_stderr(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="No such file or directory") as caught:
        run_tool(["ffprobe", "-v", "error", file_url(tmp_path / "nothing.mp4")])
    assert "\n" not in str(caught.value)


def test_unknown_tool_is_rejected() -> None:
    with pytest.raises(ValueError, match="unknown tool"):
        run_tool(["rm", "x"])


def test_last_line_leaves_out_the_module() -> None:
    assert last_line(["first", "[mov,mp4 @ 0x55d0c1] moov atom not found", "  "]) == "moov atom not found"
    assert last_line([]) == ""


def test_a_file_is_written(tmp_path: Path) -> None:
    run_tool([*SOURCE, str(tmp_path / "a.mp4")])
    assert (tmp_path / "a.mp4").stat().st_size > 1000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full exists on Linux only")
@pytest.mark.parametrize("frames", ["1", "25"])
def test_a_full_disk_is_an_error_whatever_the_exit_status(frames: str) -> None:
    with pytest.raises(ToolError, match="No space left on device"):
        run_tool([*SOURCE, "-frames:v", frames, "-f", "rawvideo", "/dev/full"])


def test_messages_about_a_cut_short_output_are_recognized() -> None:
    assert is_cut_short("Error writing trailer of a.mp4: Input/output error")
    assert is_cut_short("Error closing file a.s16: Input/output error")
    assert not is_cut_short("a.mp4: Invalid data found when processing input")
