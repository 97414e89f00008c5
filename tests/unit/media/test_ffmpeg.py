"""Finding and running the tools."""

from pathlib import Path

import pytest

from latentsync.errors import ToolError
from latentsync.media.ffmpeg import file_url, find_tool, last_words, run_tool


def test_missing_tool_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=r"ffmpeg was not found: run `source setup_env.sh`"):
        find_tool("ffmpeg")


def test_run_tool_returns_what_was_printed() -> None:
    assert run_tool(["ffmpeg", "-version"]).startswith("ffmpeg version")


def test_failure_ends_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="No such file or directory") as caught:
        run_tool(["ffprobe", "-v", "error", file_url(tmp_path / "nothing.mp4")])
    assert "\n" not in str(caught.value)


def test_unknown_tool_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown tool"):
        run_tool(["rm", "x"])


def test_last_words_leave_out_the_module() -> None:
    assert last_words(["first", "[mov,mp4 @ 0x55d0c1] moov atom not found", "  "]) == "moov atom not found"
    assert last_words([]) == ""
