import os
import subprocess
from pathlib import Path

import pytest

from latentsync.errors import ConfigError, InputError
from latentsync.jobs.limits import Limits, check_container, decoded_seconds


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=50:duration=0.4", folder / "video.mp4")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1.5", folder / "speech.wav")
    ffmpeg("-i", folder / "speech.wav", "-c:a", "libopus", folder / "speech.webm")
    return folder


def test_files_within_the_limits_pass(files: Path):
    limits = Limits(max_seconds=2, max_side=64)
    assert limits.check_video(files / "video.mp4").width == 64
    assert limits.check_speech(files / "speech.wav") == pytest.approx(1.5, abs=0.01)
    assert limits.check_speech(files / "speech.webm") == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_side=63), "at most 63 pixels"),
        (Limits(max_megabytes=0.001), "the maximum is 0.001 MB"),
    ],
)
def test_a_video_over_a_limit_is_refused(files: Path, limits: Limits, said: str):
    with pytest.raises(InputError, match=said):
        limits.check_video(files / "video.mp4")


@pytest.mark.parametrize("check", ["check_video", "check_speech"])
def test_large_frames_are_rejected_before_one_is_decoded(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str
):
    tool = tmp_path / "ffmpeg"
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/decoded\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InputError, match="64x48 pixels: scale it to at most 63"):
        getattr(Limits(max_side=63), check)(files / "video.mp4")
    assert not (tmp_path / "decoded").exists()


def test_the_length_of_a_video_is_counted_in_its_frames(files: Path):
    video = Limits().check_video(files / "video.mp4")
    assert Limits().check_length(video) == pytest.approx(0.4)
    assert Limits(max_seconds=0.4).check_length(video) == pytest.approx(0.4)
    with pytest.raises(InputError, match=r"longer than 0.36 s: cut it, or use another sync mode"):
        Limits(max_seconds=0.36).check_length(video)


def test_a_speech_over_the_length_is_refused(files: Path):
    with pytest.raises(InputError, match="longer than 1 s"):
        Limits(max_seconds=1).check_speech(files / "speech.wav")


def test_a_wrong_duration_in_the_header_is_ignored(files: Path, tmp_path: Path):
    lying = bytearray((files / "speech.wav").read_bytes())
    at = lying.index(b"data") + 4
    lying[at : at + 4] = (0).to_bytes(4, "little")
    (tmp_path / "short.wav").write_bytes(lying)
    with pytest.raises(InputError, match="longer than 1 s"):
        Limits(max_seconds=1).check_speech(tmp_path / "short.wav")


def test_decoding_stops_at_the_limit(files: Path):
    assert decoded_seconds(files / "speech.wav", 0.5) == pytest.approx(0.5, abs=0.05)


def test_a_high_frame_rate_counts(files: Path):
    limits = Limits(max_seconds=1)
    video = limits.check_video(files / "video.mp4")
    limits.check_frames(video, 1.0, "source")
    limits.check_frames(video, 100.0, "25")
    with pytest.raises(InputError, match="use 25"):
        limits.check_frames(video, 1.3, "source")


def test_several_people_cost_as_much_as_one_each(files: Path):
    limits = Limits(max_seconds=1)  # 60 frames of one person
    video = limits.check_video(files / "video.mp4")
    limits.check_frames(video, 1.0, "25", num_people=2)
    with pytest.raises(InputError, match=r"3 people in 25 frames are too many, the maximum is 60 in all: use shorter"):
        limits.check_frames(video, 1.0, "25", num_people=3)
    with pytest.raises(InputError, match="2 people in 50 frames"):
        limits.check_frames(video, 1.0, "source", num_people=2)
    with pytest.raises(InputError, match="9 people are to speak: the maximum is 8"):
        limits.check_people(9, 1)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
    "hls with an address": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {other}\n",
    "text": "this is not a film\n",
    "empty": "",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["video.mp4", "video.m3u8", "video.wav", "video.ffconcat", "video"])
def test_files_that_refer_to_other_files_are_rejected(files: Path, tmp_path: Path, kind: str, name: str):
    path = tmp_path / name
    path.write_text(PLAYLISTS[kind].format(other=files / "video.mp4"))
    with pytest.raises(InputError, match="convert it"):
        check_container(path)


def test_limits_are_positive():
    with pytest.raises(ConfigError, match="max_side is 0"):
        Limits(max_side=0)
