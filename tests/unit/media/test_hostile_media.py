"""Files made to read other files, to block, or to fill the memory are rejected in one line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from latentsync.errors import InputError, ToolError
from latentsync.media.ffmpeg_tools import StallGuard, run_tool
from latentsync.media.probe import probe_audio, probe_video

VIDEO = Path("assets/demo1_video.mp4")


@pytest.mark.parametrize("name", ["film.m3u8", "film.mp4", "film.txt"])
@pytest.mark.parametrize("kind", ["hls", "ffconcat", "dash"])
def test_playlists_are_rejected_by_content(tmp_path: Path, repository: Path, name: str, kind: str) -> None:
    target = repository / VIDEO
    text = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{target}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {target}\n",
        "dash": f'<?xml version="1.0"?><MPD type="static"><Period><BaseURL>{target}</BaseURL></Period></MPD>',
    }[kind]
    (tmp_path / name).write_text(text)
    for probe in (probe_video, probe_audio):
        with pytest.raises(InputError, match=r"playlist|not a .* file that ffmpeg can read"):
            probe(tmp_path / name)


def test_huge_frames_in_a_small_file_are_rejected_with_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.gif"
    picture = Image.new("P", (16000, 16000))
    picture.save(path, save_all=True, append_images=[picture], duration=40)
    assert path.stat().st_size < 1_000_000
    program = (
        "import resource, sys\nfrom latentsync.errors import InputError\n"
        "from latentsync.media.probe import probe_video\n"
        "try:\n    probe_video(sys.argv[1])\nexcept InputError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    line, kilobytes = done.stdout.splitlines()
    assert line == f"{path} has frames of more than 8192 x 8192 pixels: make them smaller"
    assert int(kilobytes) < 700_000  # a new process counts the memory of its parent until it runs exec


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_rejected_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "film.mp4")
    for probe in (probe_video, probe_audio):
        with pytest.raises(InputError, match="is a pipe or a device"):
            probe(tmp_path / "film.mp4")


@pytest.mark.parametrize("name", ["a\0b.mp4", "n" * 300 + ".mp4", "film.mp4/inside.mp4"])
def test_impossible_names_are_reported_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "film.mp4").write_text("")
    with pytest.raises(InputError) as caught:
        probe_video(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "give the path of a video file" in str(caught.value)


def test_a_program_that_takes_too_long_is_ended() -> None:
    endless = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "anullsrc", "-f", "null", "-"]
    with pytest.raises(ToolError, match=r"ffmpeg failed: it took longer than 0.5 s"):
        run_tool(endless, timeout_s=0.5)


def test_a_stalled_program_is_ended() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        guard = StallGuard(process, timeout_s=0.2)
        with guard.waiting():
            assert process.stdout.read() == b""
        guard.end()
    assert guard.has_stalled


def test_a_wait_may_have_another_time_limit() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        guard = StallGuard(process, timeout_s=0.05)
        with guard.waiting(timeout_s=60):
            assert process.stdout.read() == b""
        guard.end()
    assert not guard.has_stalled


def test_an_idle_program_is_not_ended_between_reads() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        guard = StallGuard(process, timeout_s=0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        guard.end()
        process.kill()
    assert not guard.has_stalled


def test_every_call_opens_files_through_the_guard(repository: Path) -> None:
    """An ``-i`` written by hand, or an input of ffmpeg-python, would open playlists."""
    found = []
    for folder in ("latentsync", "demo", "preprocess", "eval", "scripts", "benchmarks"):
        for path in sorted((repository / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if re.search(r'"-i"|ffmpeg\.input\(|"ffprobe"', text):
                found.append(path.relative_to(repository).as_posix())
    assert found == ["latentsync/media/ffmpeg_tools.py"]
