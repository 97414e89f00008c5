"""Files that step 1 accepts, and faults with their reasons."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError
from preprocess.step import Done, Rejected, StepResult
from preprocess.steps.step_1_broken import BrokenConfig, BrokenStep
from tests.unit.preprocess.raw_clips import ffmpeg, make_raw, noise, raw_clip

AAC = ("-c:a", "aac")


def judge(path: Path, config: BrokenConfig | None = None) -> StepResult:
    work = path.with_name("work")
    work.mkdir()
    return BrokenStep(config or BrokenConfig()).load(torch.device("cpu"))(raw_clip(path), work)


@pytest.mark.parametrize("name", ["-a 'quoted' clip.mp4", "клип.mkv", "clip.ts", "clip.mov"])
def test_an_undamaged_file_passes_unchanged(tmp_path: Path, name: str) -> None:
    path = make_raw(tmp_path / name, sound=AAC)
    before = path.read_bytes(), path.stat().st_mtime_ns
    result = judge(path)
    assert isinstance(result, Done)
    assert result.outputs[0].file is None
    assert result.outputs[0].facts["duration_s"] == pytest.approx(2.05, abs=0.1)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def truncated(suffix: str, *options: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        whole = make_raw(folder / f"whole{suffix}", 75, sound=[*AAC, *options]).read_bytes()
        (folder / f"clip{suffix}").write_bytes(whole[: len(whole) * 6 // 10])
        return folder / f"clip{suffix}"

    return make


def overwritten(folder: Path) -> Path:
    path = make_raw(folder / "clip.mp4", 75, video=["-g", "10"], sound=AAC)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    path.write_bytes(content)
    return path


def with_hole(folder: Path) -> Path:
    return make_raw(folder / "clip.mkv", 75, video=["-vf", "select='not(between(n,20,45))'", "-vsync", "vfr"])


def with_bytes(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "clip.mp4").write_bytes(content)
        return folder / "clip.mp4"

    return make


def raw(num_frames: int = 50, samples: np.ndarray | None = None) -> Callable[[Path], Path]:
    return lambda folder: make_raw(folder / "clip.mp4", num_frames, samples=samples)


def late_sound(folder: Path) -> Path:
    return make_raw(folder / "clip.mp4", 75, before_sound=["-itsoffset", "0.4"], samples=noise(32000))


def without(stream: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ffmpeg("-i", str(make_raw(folder / "whole.mp4")), f"-{stream}", "-c", "copy", str(folder / "clip.mp4"))
        return folder / "clip.mp4"

    return make


def sound_with_cover(folder: Path) -> Path:
    whole = str(make_raw(folder / "whole.mp4", 1, samples=noise(32000)))
    ffmpeg("-i", whole, "-map", "0", "-c:v", "mjpeg", "-c:a", "copy", "-disposition:v:0", "attached_pic",
           str(folder / "clip.m4a"))  # fmt: skip
    return folder / "clip.m4a"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (truncated(".mp4", "-movflags", "+faststart"), "broken_stream"),
        (truncated(".mp4"), "unreadable"),
        (truncated(".mkv"), "broken_stream"),
        (overwritten, "broken_stream"),
        (with_hole, "broken_stream"),
        (with_bytes(b""), "unreadable"),
        (with_bytes(b"this is not a video\n" * 40), "unreadable"),
        (without("an"), "no_sound"),
        (without("vn"), "no_video"),
        (sound_with_cover, "no_video"),
        (raw(samples=np.zeros(32000, dtype=np.int16)), "silent"),
        (raw(samples=noise(32000) // 500), "silent"),
        (raw(num_frames=20), "too_short"),
        (raw(num_frames=50, samples=noise(22000)), "durations_differ"),
        (raw(num_frames=50, samples=noise(42000)), "durations_differ"),
        (late_sound, "durations_differ"),
    ],
)
def test_a_fault_is_rejected_with_its_reason(tmp_path: Path, make: Callable[[Path], Path], reason: str) -> None:
    result = judge(make(tmp_path))
    assert isinstance(result, Rejected)
    assert result.reason == reason, result
    assert reason in BrokenStep.reasons
    assert result.detail
    assert "\n" not in result.detail


def test_quiet_sound_and_small_differences_pass(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mp4", 50, samples=noise(30000) // 200)
    assert isinstance(judge(path), Done)


def test_the_tolerances_are_settings(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mp4", 20)
    assert isinstance(judge(path, BrokenConfig(min_s=0.5)), Done)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="everyone's files can be read here")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mp4")
    path.chmod(0)
    result = judge(path)
    assert isinstance(result, Rejected)
    assert result.reason == "unreadable"


@pytest.mark.parametrize("setting", [{"min_s": 0.0}, {"silence_dbfs": 3.0}, {"max_gap_s": -1.0}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="broken"):
        BrokenConfig(**setting)
