"""Seeks compared with decoding from the beginning: frames are equal, or the difference is found."""

import subprocess
import zlib
from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.seek_check import SeekCheck, can_seek, frame_checksums
from tests.unit.media.conftest import MakeClip
from tests.unit.media.test_repeated_reader import FILES, VARIABLE

FPS = Fraction(25)
CASES = {
    **{name: FILES[name] for name in ("30fps", "b_frames", "open_groups", "variable", "ts", "avi", "raw")},
    "short_groups": ("a.mp4", "25", ["-g", "5"]),
    "late_start": ("a.mp4", "25", ["-output_ts_offset", "3.3"]),
    "late_start_mkv": ("a.mkv", "30", ["-output_ts_offset", "3.3"]),
    "intra_refresh": ("a.mkv", "30", ["-x264-params", "intra-refresh=1:keyint=60:bframes=0"]),
}


@pytest.mark.parametrize("kind", CASES)
def test_an_exact_seek_reads_equal_frames(make_clip: MakeClip, kind: str) -> None:
    """Where the check passes, the reader's RGB frames are those of reading from the beginning."""
    name, rate, options = CASES[kind]
    path = make_clip(name, num_frames=180, fps=rate, options=options)
    info, fps = probe_video(path), Fraction(25) if options != VARIABLE else Fraction(30)
    with VideoReader(path, fps) as reader:
        expected = [zlib.crc32(frame) for frame in reader]
    start, stop = len(expected) - 23, len(expected) - 3
    with SeekCheck([info], fps, [(start, stop), (start - 9, stop)]) as check:
        is_exact = [check.is_exact(0), check.is_exact(1)]
    for first, exact in zip((start, start - 9), is_exact, strict=True):
        with VideoReader(path, fps, stop - first, first_frame=first, seek=True) as reader:
            found = [zlib.crc32(frame) for frame in reader]
        assert (found == expected[first:stop]) == exact
    if kind in ("raw", "avi"):  # they store no usable timestamps
        assert not any(is_exact)
    elif kind not in ("intra_refresh", "ts"):
        assert all(is_exact)


def test_as_many_checksums_as_frames(make_clip: MakeClip) -> None:
    info = probe_video(make_clip("a.mp4", num_frames=60, fps="30"))
    checksums = list(frame_checksums(info, FPS))
    assert len(checksums) == 50
    assert len(set(checksums)) == 50
    assert list(frame_checksums(info, FPS, 20, 7)) == checksums[20:27]


def test_one_wrong_video_of_two_is_found(make_clip: MakeClip) -> None:
    good, bad = (probe_video(make_clip(name, num_frames=100, fps="25")) for name in ("a.mp4", "b.h264"))
    with SeekCheck([good, bad], FPS, [(70, 90)]) as both, SeekCheck([good], FPS, [(70, 90)]) as alone:
        assert not both.is_exact(0)
        assert alone.is_exact(0)


def test_a_trial_refuses_containers_without_timestamps(make_clip: MakeClip) -> None:
    assert can_seek(probe_video(make_clip("a.mp4", num_frames=120, fps="25")), FPS, 70)
    assert not can_seek(probe_video(make_clip("a.avi", num_frames=120, fps="25")), FPS, 70)


def test_leaving_the_block_ends_the_decoder(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    path, started = make_clip("a.mp4", num_frames=250, fps="25"), []
    popen = subprocess.Popen

    def recorded(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    info = probe_video(path)
    monkeypatch.setattr(subprocess, "Popen", recorded)
    with SeekCheck([info], FPS, [(0, 250), (100, 250)]) as check:
        check.is_exact(0)
    assert started
    assert all(process.poll() is not None for process in started)


def test_a_missing_program_is_reported(make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = probe_video(make_clip("a.mp4", num_frames=30, fps="25"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with SeekCheck([info], FPS, [(5, 9)]) as check, pytest.raises(Exception, match="ffmpeg was not found"):
        check.is_exact(0)
