"""Raw files of many formats become clips of 25 fps and 16 kHz; video and audio keep their times."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError
from latentsync.media.probe import probe_video
from preprocess.step import Rejected
from preprocess.steps.step_2_resample import ResampleConfig, ResampleStep
from tests.unit.preprocess.raw_clips import (
    LOSSLESS_SOUND,
    assert_is_a_clip,
    ffmpeg,
    file_of,
    frame_number,
    make_raw,
    noise,
    numbers,
    only_output,
    raw_clip,
    read_all,
    samples_of,
)


def resample(path: Path, work_name: str = "work") -> tuple[Path, dict[str, object]]:
    work = path.with_name(work_name)
    work.mkdir()
    output = only_output(ResampleStep().load(torch.device("cpu"))(raw_clip(path), work))
    file = file_of(output)
    assert list(work.iterdir()) == [file]
    num_frames = output.facts["num_frames"]
    assert isinstance(num_frames, int)
    assert_is_a_clip(file, num_frames)
    return file, dict(output.facts)


def stream_hash(path: Path) -> str:
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb"]
    return subprocess.run([*command, "-f", "md5", "-"], capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("name", ["-a 'quoted' clip.mp4", "clip.mkv"])
def test_a_stream_that_fits_is_copied(tmp_path: Path, name: str) -> None:
    path = make_raw(tmp_path / name)
    file, facts = resample(path)
    assert facts == {"num_frames": 50, "width": 128, "height": 64, "video_copied": True}
    assert stream_hash(file) == stream_hash(path)
    np.testing.assert_array_equal(samples_of(file), noise(32000))


def test_a_copied_stream_begins_at_0_and_keeps_its_sound(tmp_path: Path) -> None:
    late = ["-itsoffset", "0.12"]
    path = make_raw(tmp_path / "clip.mkv", samples=noise(34000), before_video=late, sound=["-c:a", "pcm_s16le"])
    file, facts = resample(path)
    assert facts["video_copied"] is True
    np.testing.assert_array_equal(samples_of(file), noise(34000)[1920:33920])


@pytest.mark.parametrize(
    ("fps", "num_frames", "options"),
    [
        ("60", 120, []),
        ("30", 60, []),
        ("50", 100, []),
        ("24000/1001", 48, []),
        ("25", 50, ["-pix_fmt", "yuv420p10le"]),
        ("25", 50, ["-pix_fmt", "yuv444p"]),
        ("25", 50, ["-c:v", "mpeg4", "-q:v", "1"]),
        ("25", 50, ["-pix_fmt", "yuvj420p"]),
    ],
)
def test_every_frame_is_the_source_s_nearest(tmp_path: Path, fps: str, num_frames: int, options: Sequence[str]) -> None:
    path = make_raw(tmp_path / "clip.mp4", num_frames, fps, video=options)
    file, facts = resample(path)
    assert facts["video_copied"] is False
    assert facts["num_frames"] == 50
    source_fps = eval(fps)
    frames = read_all(file)
    for place, number in enumerate(map(frame_number, frames)):
        assert abs(number - min(place / 25 * source_fps, num_frames - 1)) <= max(0.55, source_fps / 50)
    for frame in frames[::10]:
        np.testing.assert_allclose(frame[40, 60].astype(int), (200, 40, 40), atol=6)
    info = probe_video(file)
    assert (info.codec, info.pixel_format, info.color_space) == ("h264", "yuv420p", "bt709")


def test_variable_rate_keeps_the_time_of_every_frame(tmp_path: Path) -> None:
    options = ["-vf", "select='not(mod(n,3))+lt(n,20)'", "-vsync", "vfr"]
    file, facts = resample(make_raw(tmp_path / "clip.mp4", 50, video=options))
    assert facts["video_copied"] is False
    found = numbers(file)
    assert found[:20] == list(range(20))
    assert found[20:] == [number // 3 * 3 if number // 3 * 3 >= 20 else 19 for number in range(20, len(found))]


def test_the_video_is_turned_upright(tmp_path: Path) -> None:
    upright = make_raw(tmp_path / "upright.mp4")
    ffmpeg("-i", str(upright), "-c", "copy", "-metadata:s:v", "rotate=90", str(tmp_path / "clip.mp4"))
    file, facts = resample(tmp_path / "clip.mp4")
    assert (facts["width"], facts["height"], facts["video_copied"]) == (64, 128, False)
    turned = [np.rot90(frame, turns) for frame in read_all(upright)[7:8] for turns in (1, 3)]
    distances = [np.abs(read_all(file)[7].astype(int) - frame).mean() for frame in turned]
    assert min(distances) < 3
    assert probe_video(file).width == 64
    assert (
        "rotation" not in subprocess.run(["ffprobe", "-show_streams", str(file)], capture_output=True).stdout.decode()
    )


def test_odd_sides_and_oblong_pixels(tmp_path: Path) -> None:
    odd = ["-vf", "crop=127:63:0:0:exact=1,setsar=1", "-pix_fmt", "yuv444p"]
    _, facts = resample(make_raw(tmp_path / "odd.mp4", 25, video=odd))
    assert (facts["width"], facts["height"]) == (126, 62)
    file, facts = resample(make_raw(tmp_path / "sar.mp4", 25, video=["-vf", "setsar=2"]), "sar")
    assert (facts["width"], facts["height"], facts["video_copied"]) == (256, 64, False)
    assert np.abs(read_all(file)[3][:, ::2].astype(int) - read_all(tmp_path / "sar.mp4")[3][:, ::2]).mean() < 6


def test_interlaced_frames_are_deinterlaced(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mp4", 50, video=["-flags", "+ilme+ildct", "-x264-params", "tff=1"])
    file, facts = resample(path)
    assert facts == {"num_frames": 50, "width": 128, "height": 64, "video_copied": False}
    assert numbers(file) == list(range(50))


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "alac"), ("mkv", "flac")])
def test_frames_before_late_audio_are_cut_off(tmp_path: Path, suffix: str, codec: str) -> None:
    path = make_raw(tmp_path / f"clip.{suffix}", before_sound=["-itsoffset", "0.4"], sound=["-c:a", codec])
    file, facts = resample(path)
    assert facts["num_frames"] == 40
    assert numbers(file) == list(range(10, 50))
    np.testing.assert_array_equal(samples_of(file), noise(32000)[: 40 * 640])


def test_audio_before_late_video_is_cut_off(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mp4", before_video=["-itsoffset", "0.4"], video=["-vsync", "vfr"])
    file, facts = resample(path)
    assert facts["num_frames"] == 40
    assert numbers(file) == list(range(40))
    np.testing.assert_array_equal(samples_of(file), noise(32000)[6400:])


@pytest.mark.parametrize(("num_samples", "num_frames"), [(31999, 50), (31400, 50), (31360, 49), (32700, 50)])
def test_both_end_together(tmp_path: Path, num_samples: int, num_frames: int) -> None:
    file, facts = resample(make_raw(tmp_path / "clip.mp4", samples=noise(num_samples)))
    assert facts["num_frames"] == num_frames
    assert facts["video_copied"] is (num_frames == 50)
    found = samples_of(file)
    both = min(len(found), num_samples)
    np.testing.assert_array_equal(found[:both], noise(num_samples)[:both])
    assert not found[both:].any()


def test_a_gap_in_the_sound_is_silence(tmp_path: Path) -> None:
    cut = ["-af", "asetnsamples=160,aselect='not(between(n,60,119))'", "-c:a", "pcm_s16le"]
    file, _ = resample(make_raw(tmp_path / "clip.mkv", 75, sound=cut))
    found, expected = samples_of(file), noise(48000)
    np.testing.assert_array_equal(found[:9600], expected[:9600])
    assert not found[9700:19100].any()
    np.testing.assert_array_equal(found[19200:], expected[19200:])


def test_stereo_at_another_rate_stays_in_time(tmp_path: Path) -> None:
    samples = np.zeros(32000, dtype=np.int16)
    samples[20000:20040] = 20000
    other = ["-ar", "44100", "-ac", "2", "-c:a", "aac"]
    file, _ = resample(make_raw(tmp_path / "clip.mp4", samples=samples, sound=other))
    energy = samples_of(file).astype(float) ** 2
    assert abs((energy * np.arange(len(energy))).sum() / energy.sum() - 20019.5) < 8


def test_the_same_source_gives_the_same_file(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mp4", 60, "30", sound=LOSSLESS_SOUND)
    assert resample(path, "one")[0].read_bytes() == resample(path, "two")[0].read_bytes()


def test_video_and_audio_without_common_time(tmp_path: Path) -> None:
    path = make_raw(tmp_path / "clip.mkv", 20, samples=noise(8000), before_sound=["-itsoffset", "5"])
    (tmp_path / "work").mkdir()
    result = ResampleStep().load(torch.device("cpu"))(raw_clip(path), tmp_path / "work")
    assert isinstance(result, Rejected)
    assert result.reason == "nothing_in_common"


def test_an_impossible_crf_is_refused() -> None:
    with pytest.raises(ConfigError, match="crf 52"):
        ResampleConfig(crf=52)
