"""The finished file: right frames, colours, audio and length, or no file at all."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import InputError, ToolError
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.ffmpeg_tools import file_url, run_tool
from latentsync.media.probe import probe_audio, probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from tests.unit.media.conftest import CLICK_S, HEIGHT, WIDTH, click_time_s, ffmpeg, frame_number, numbered_frame


def write(path: Path | str, num_frames: int = 30, **options) -> None:
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(25), **options) as video:
        for number in range(num_frames):
            video.write(numbered_frame(number))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4"])
def test_frames_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write(path)
    info = probe_video(path)
    assert (info.codec, info.pixel_format, info.color_space, info.fps) == ("h264", "yuv420p", "bt709", 25)
    with VideoReader(path, fps=None) as frames:
        assert [frame_number(frame) for frame in frames] == list(range(30))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o444 == 0o444


def test_index_is_at_the_front(tmp_path: Path) -> None:
    write(tmp_path / "out.mp4")
    content = (tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("colour", [(200, 60, 20), (30, 160, 90), (20, 40, 210), (240, 240, 240), (8, 8, 8)])
def test_colours_come_back(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    frame = np.full((64, 64, 3), colour, dtype=np.uint8)
    with VideoWriter(tmp_path / "out.mp4", 64, 64, 25, crf=5) as video:
        for _ in range(3):
            video.write(frame)
    with VideoReader(tmp_path / "out.mp4") as frames:
        assert np.abs(next(iter(frames)).astype(int) - frame).max() <= 3


def test_odd_sides_grow_by_one(tmp_path: Path) -> None:
    frame = np.zeros((33, 47, 3), dtype=np.uint8)
    frame[:, -1] = 255
    with VideoWriter(tmp_path / "out.mp4", 47, 33, 25) as video:
        video.write(frame)
    with VideoReader(tmp_path / "out.mp4") as frames:
        back = next(iter(frames))
    assert back.shape == (34, 48, 3)
    assert back[:, -2:].min() > 200
    assert back[:, :-4].max() < 50


def test_fractional_rate(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", WIDTH, HEIGHT, Fraction(30000, 1001)) as video:
        for number in range(60):
            video.write(numbered_frame(number))
    assert probe_video(tmp_path / "out.mp4").fps == Fraction(30000, 1001)


SOUNDS = [
    (".mp4", "a.wav", [], "aac"),
    (".mp4", "a.m4a", ["-b:a", "192k"], "aac"),
    (".mp4", "a.mp3", [], "mp3"),
    (".mp4", "a.opus", [], "opus"),
    (".mp4", "a.flac", [], "aac"),
    (".mp4", "a.m4a", ["-c:a", "alac"], "alac"),
    (".mp4", "a.mp3", ["-ar", "8000"], "aac"),
    (".mov", "a.wav", [], "pcm_s16le"),
    (".mov", "a.opus", [], "aac"),
    (".mkv", "a.flac", [], "flac"),
    (".mkv", "a.ogg", [], "vorbis"),
    (".mkv", "a.wav", [], "pcm_s16le"),
]


@pytest.mark.parametrize(("suffix", "name", "options", "codec"), SOUNDS)
def test_audio_is_kept(tmp_path: Path, click_wav: Path, suffix: str, name: str, options: list[str], codec: str) -> None:
    """Audio is copied if the container supports the codec; rate, channels and timing are kept."""
    ffmpeg("-i", str(click_wav), *options, str(tmp_path / name))
    source = probe_audio(tmp_path / name)
    write(tmp_path / f"out{suffix}", 50, audio_path=tmp_path / name, audio_duration_s=2.0)
    sound = probe_audio(tmp_path / f"out{suffix}")
    assert (sound.codec, sound.sample_rate, sound.channels) == (codec, source.sample_rate, source.channels)
    if sound.codec == source.codec and suffix == ".mp4":
        assert _share_of_copied_packets(tmp_path / name, tmp_path / f"out{suffix}") > 0.6
    with AudioSamples.decode(tmp_path / f"out{suffix}") as samples:
        heard = click_time_s(samples.read(0, samples.num_samples))
        assert heard == pytest.approx(CLICK_S + 0.0025, abs=4e-3)
        packet_s = 1024 / source.sample_rate
        assert samples.duration_s == pytest.approx(2.0, abs=max(0.04, packet_s))
    assert probe_video(tmp_path / f"out{suffix}").duration_s == pytest.approx(2.0, abs=max(0.04, packet_s))


def _share_of_copied_packets(first: Path, second: Path) -> float:
    hashes = []
    for path in (first, second):
        printed = run_tool(
            ["ffmpeg", "-v", "error", "-i", file_url(path), "-map", "0:a", "-c", "copy", "-f", "framemd5", "pipe:1"]
        )
        hashes.append({line.rsplit(",", 1)[1] for line in printed.splitlines() if not line.startswith("#")})
    return len(hashes[0] & hashes[1]) / len(hashes[1])


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_audio_is_trimmed(tmp_path: Path, click_wav: Path, name: str) -> None:
    ffmpeg("-i", str(click_wav), str(tmp_path / name))
    write(tmp_path / "out.mp4", 26, audio_path=tmp_path / name, audio_duration_s=1.02)
    assert probe_audio(tmp_path / "out.mp4").duration_s == pytest.approx(1.02, abs=0.03)
    assert probe_video(tmp_path / "out.mp4").duration_s == pytest.approx(1.04, abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_audio_is_followed_by_silence(tmp_path: Path, click_wav: Path, suffix: str) -> None:
    with AudioSamples.decode(click_wav) as source:
        duration_s = source.duration_s + 1.5
    path = tmp_path / f"out{suffix}"
    write(path, round(duration_s * 25), audio_path=click_wav, audio_duration_s=duration_s, pad_audio=True)
    with AudioSamples.decode(path) as samples:
        assert samples.duration_s == pytest.approx(duration_s, abs=0.03)
        everything = samples.read(0, samples.num_samples)
    assert np.abs(everything[-20000:]).max() < 1e-3
    assert click_time_s(everything) == pytest.approx(CLICK_S, abs=0.02)


def test_audio_of_a_video(tmp_path: Path, click_wav: Path) -> None:
    write(tmp_path / "a.mp4", audio_path=click_wav)
    write(tmp_path / "b.mp4", audio_path=tmp_path / "a.mp4")
    assert probe_audio(tmp_path / "b.mp4").codec == "aac"


@pytest.mark.parametrize("kind", ["-dash.mp4", "my videos/out 1.mp4", 'it\'s "so" 人.mp4', "a:b.mp4"])
def test_any_name(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(kind, 2)
    assert probe_video(kind).num_frames_estimate == 2


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_failure_in_the_middle_keeps_the_existing_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older film")
    video = VideoWriter(path, WIDTH, HEIGHT, 25)
    processes = []

    def fail_midway() -> None:
        with video:
            video.write(numbered_frame(0))
            processes.append(video._process)
            raise error

    with pytest.raises(error):
        fail_midway()
    assert path.read_bytes() == b"an older film"
    assert files_below(tmp_path) == ["out.mp4"]
    assert [process.returncode is not None for process in processes] == [True]


def test_failure_removes_folders_it_made(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "kept/a/b/out.mp4", WIDTH, HEIGHT, 25):
        raise KeyboardInterrupt
    assert files_below(tmp_path) == ["kept"]


@pytest.mark.parametrize("name", ["out.avi", "out", "out.txt", "out.mp4.gz"])
def test_unknown_suffix_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.mp4, \.mov or \.mkv"):
        write(tmp_path / name)


def test_unwritable_outputs_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.mp4").mkdir()
    for path in (tmp_path / "file" / "out.mp4", tmp_path / "folder.mp4", Path("/proc/nowhere/out.mp4")):
        with pytest.raises(InputError, match="folder") as caught:
            write(path)
        assert str(path) in str(caught.value)
    assert files_below(tmp_path) == ["file", "folder.mp4"]


def test_invalid_arguments_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crf 52"):
        write(tmp_path / "out.mp4", crf=52)
    with pytest.raises(InputError, match="no frame"):
        write(tmp_path / "out.mp4", 0)
    with pytest.raises(InputError, match="does not exist"):
        write(tmp_path / "out.mp4", audio_path=tmp_path / "none.wav")
    with (
        pytest.raises(ValueError, match="expected uint8"),
        VideoWriter(tmp_path / "out.mp4", WIDTH, HEIGHT, 25) as video,
    ):
        video.write(numbered_frame(0)[:-1])
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (
            "cat >/dev/null; echo 'av_interleaved_write_frame(): No space left on device' >&2",
            InputError,
            "disk is full",
        ),
        ("echo 'av_write: No space left on device' >&2; exit 1", InputError, "disk is full"),
        ("cat >/dev/null; echo 'x264 is unwell' >&2; exit 1", ToolError, "x264 is unwell"),
        ("echo 'no encoder' >&2; exit 1", ToolError, "no encoder"),
        ("cat >/dev/null", ToolError, "no message"),
    ],
)
def test_encoder_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, error: type[Exception], words: str
) -> None:
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    (tmp_path / "out").mkdir()
    with pytest.raises(error, match=words) as caught:
        write(tmp_path / "out" / "a.mp4", 200)
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path / "out") == []


def test_two_writers_in_one_folder_do_not_interfere(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 25) as first:
        with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, 25) as second:
            first.write(numbered_frame(1))
            second.write(numbered_frame(2))
        with VideoReader(tmp_path / "a.mp4") as frames:
            assert frame_number(next(iter(frames))) == 2
    with VideoReader(tmp_path / "a.mp4") as frames:
        assert frame_number(next(iter(frames))) == 1
    assert files_below(tmp_path) == ["a.mp4"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems reject such names")
def test_names_that_are_not_utf8(tmp_path: Path, click_wav: Path) -> None:
    sound, path = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.wav", b"t\xe8te \xf0\x9f.mp4"))
    click_wav.rename(sound)
    write(path, 5, audio_path=sound)
    assert probe_audio(path).codec == "aac"
    with VideoReader(path) as frames:
        assert [frame_number(frame) for frame in frames] == list(range(5))
    with AudioSamples.decode(path) as samples:
        assert samples.num_samples > 0
