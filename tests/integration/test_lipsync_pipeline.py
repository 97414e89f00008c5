"""The whole pipeline with tiny random networks: lengths, gaps, cuts, audio, determinism, clean-up after errors."""

import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import CheckpointError, DeviceMemoryError, InputError, NonFiniteError
from latentsync.media.probe import probe_audio, probe_video
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.synthesis import WindowSynthesizer
from tests.tiny_pipeline import tiny_pipeline

WIDTH, HEIGHT = 128, 112
QUICK = LipsyncOptions(num_inference_steps=1, guidance_scale=1.5, crf=0)


def make_video(path: Path, num_frames: int, hidden: range = range(0), fps: int = 25) -> Path:
    """Write a moving pattern; a black first corner marks the `hidden` frames as frames without the face."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(fps), crf=0) as writer:
        for i in range(num_frames):
            frame = np.stack((x + 60, y + 70, (x + y) // 2 + 50), axis=-1) + i % 20
            frame[:24, :24] = 0 if i in hidden else 255
            writer.write(frame.astype(np.uint8))
    return path


def make_speech(path: Path, seconds: float, rate: int = 44100) -> Path:
    times = np.arange(round(seconds * rate)) / rate
    sound = 0.4 * np.sin(2 * np.pi * 220 * times) * (np.sin(2 * np.pi * 3 * times) > 0)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.repeat(sound, 2) * 32767).astype("<i2").tobytes())
    return path


def face_is_shown(frame: np.ndarray) -> bool:
    return bool(frame[:16, :16].mean() > 128)


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline(face_is_shown)


def read(path: Path) -> np.ndarray:
    with VideoReader(path, fps=None) as reader:
        return np.stack(list(reader)).astype(int)


@pytest.mark.parametrize(("video_frames", "seconds", "expected"), [(30, 0.8, 20), (20, 2.2, 55), (40, 0.06, 2)])
def test_the_result_lasts_as_long_as_the_speech(
    pipeline: LipsyncPipeline, tmp_path: Path, video_frames: int, seconds: float, expected: int
):
    out = tmp_path / "new folder" / "out.mp4"
    video, speech = make_video(tmp_path / "v.mp4", video_frames), make_speech(tmp_path / "s.wav", seconds)
    report = pipeline(video, speech, out, QUICK)
    assert report.num_frames == expected == len(read(out))
    assert report.num_synced == expected
    assert abs(probe_video(out).duration_s - seconds) <= 1 / 25 + 1e-3
    sound = probe_audio(out)
    assert (sound.sample_rate, sound.channels) == (44100, 2)
    assert (out.parent / "out_sheet.png").is_file()
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.mp4", "out_sheet.png"]


def test_frames_without_the_face_are_unchanged_and_reported(pipeline: LipsyncPipeline, tmp_path: Path):
    hidden = range(18, 36)
    video = make_video(tmp_path / "v.mp4", 50, hidden)
    report = pipeline(video, make_speech(tmp_path / "s.wav", 2.0), tmp_path / "out.mp4", QUICK)
    difference = np.abs(read(tmp_path / "out.mp4") - read(video)).max(axis=(1, 2, 3))
    assert difference[hidden.start : hidden.stop].max() <= 3
    assert difference[: hidden.start].min() > 10
    assert difference[hidden.stop :].min() > 10
    assert report.num_synced == 50 - len(hidden)
    assert "0.72-1.44 s" in "\n".join(report.lines())


def test_only_the_lower_face_changes(pipeline: LipsyncPipeline, tmp_path: Path):
    video = make_video(tmp_path / "v.mp4", 20)
    pipeline(video, make_speech(tmp_path / "s.wav", 0.8), tmp_path / "out.mp4", QUICK)
    changed = np.abs(read(tmp_path / "out.mp4") - read(video)).max(axis=(0, 3)) > 8
    assert changed.any()
    assert not changed[:20].any()
    assert not changed[:, :8].any()


def test_equal_seed_gives_equal_files_whatever_the_batch_and_another_seed_does_not(
    pipeline: LipsyncPipeline, tmp_path: Path
):
    video, speech = make_video(tmp_path / "v.mp4", 40), make_speech(tmp_path / "s.wav", 2.4)
    results = []
    for name, options in {
        "a": QUICK,
        "b": QUICK,
        "batched": replace(QUICK, batch_windows=3),
        "other": replace(QUICK, seed=1),
    }.items():
        pipeline(video, speech, tmp_path / f"{name}.mp4", options)
        results.append(read(tmp_path / f"{name}.mp4"))
    first, second, batched, other = results
    assert np.array_equal(first, second)
    # float32 sums differ in the last bits by batch (see test_synthesis), which may change a rounding
    assert np.abs(first - batched).mean() < 0.01
    assert np.abs(first - other).max() > 5


def test_concurrent_stages_change_nothing(pipeline: LipsyncPipeline, tmp_path: Path):
    video, speech = make_video(tmp_path / "v.mp4", 40), make_speech(tmp_path / "s.wav", 2.4)
    pipeline(video, speech, tmp_path / "turns.mp4", QUICK)
    pipeline(video, speech, tmp_path / "threads.mp4", replace(QUICK, concurrent_stages=True))
    assert (tmp_path / "threads.mp4").read_bytes() == (tmp_path / "turns.mp4").read_bytes()


def test_compare_writes_source_and_result_side_by_side(pipeline: LipsyncPipeline, tmp_path: Path):
    video = make_video(tmp_path / "v.mp4", 20)
    report = pipeline(video, make_speech(tmp_path / "s.wav", 0.8), tmp_path / "out.mp4", replace(QUICK, compare=True))
    both = read(tmp_path / "out_compare.mp4")
    assert both.shape == (20, HEIGHT, 2 * WIDTH, 3)
    assert np.abs(both[:, :, WIDTH:] - read(tmp_path / "out.mp4")).mean() < 3
    assert tmp_path / "out_compare.mp4" in report.extra_files


EXACT = replace(QUICK, exact=True, overlap_frames=0)


def windows_of(pipeline: LipsyncPipeline, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that receives (first frame, number of frames) of every window generated from now on."""
    seen: list[tuple[int, int]] = []
    denoise = WindowSynthesizer.denoise

    def spy(self, conditioning, starts, *rest):
        seen.extend((start, conditioning.shape[1]) for start in starts)
        return denoise(self, conditioning, starts, *rest)

    monkeypatch.setattr(WindowSynthesizer, "denoise", spy)
    return seen


def test_exact_windows_and_lengths_are_the_published_ones(
    pipeline: LipsyncPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = windows_of(pipeline, monkeypatch)
    video, speech = make_video(tmp_path / "v.mp4", 24), make_speech(tmp_path / "s.wav", 1.4)
    report = pipeline(video, speech, tmp_path / "exact.mp4", EXACT)
    assert report.num_frames == 37 == len(read(tmp_path / "exact.mp4"))  # 70 rows of 20 ms: frames 0 ... 36
    assert seen == [(0, 16), (16, 16), (32, 5)]
    seen.clear()
    assert pipeline(video, speech, tmp_path / "default.mp4", QUICK).num_frames == 35
    assert seen == [(0, 16), (12, 16), (19, 16)]


def test_exact_changes_kept_pixels_of_the_crop_by_resampling_only_and_the_default_none(
    pipeline: LipsyncPipeline, tmp_path: Path
):
    video, speech = make_video(tmp_path / "v.mp4", 20), make_speech(tmp_path / "s.wav", 0.72)
    source = read(video)
    changed = []
    for name, options in {"exact": EXACT, "default": QUICK}.items():
        pipeline(video, speech, tmp_path / f"{name}.mp4", options)
        result = read(tmp_path / f"{name}.mp4")[:18]
        changed.append(np.abs(result - source[:18])[:, 28:44, 52:68])  # between brows and nose tip: kept, in the crop
    assert 0 < changed[0].mean() < 3
    assert changed[1].max() <= 3  # what the encode changes
    assert changed[0].mean() > changed[1].mean()


def test_exact_without_a_detector_for_it_is_refused_before_anything_is_written(tmp_path: Path):
    pipeline = tiny_pipeline(face_is_shown)
    pipeline.exact_detector = None
    video, speech = make_video(tmp_path / "v.mp4", 8), make_speech(tmp_path / "s.wav", 0.3)
    with pytest.raises(CheckpointError, match="face-alignment"):
        pipeline(video, speech, tmp_path / "new" / "out.mp4", EXACT)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++", "unipc"])
def test_every_scheduler_and_deepcache_run(pipeline: LipsyncPipeline, tmp_path: Path, scheduler: str):
    video, speech = make_video(tmp_path / "v.mp4", 8), make_speech(tmp_path / "s.wav", 0.32)
    options = replace(QUICK, scheduler=scheduler, num_inference_steps=4, deepcache_interval=3, guidance_scale=1.0)
    assert pipeline(video, speech, tmp_path / "out.mp4", options).num_synced == 8


def test_the_sources_frame_rate_is_kept_on_request(pipeline: LipsyncPipeline, tmp_path: Path):
    video = make_video(tmp_path / "v.mp4", 20, fps=30)
    pipeline(video, make_speech(tmp_path / "s.wav", 0.5), tmp_path / "out.mp4", replace(QUICK, video_fps="source"))
    assert probe_video(tmp_path / "out.mp4").fps == 30
    assert len(read(tmp_path / "out.mp4")) == 15


def test_no_face_anywhere_is_an_error_and_leaves_nothing(tmp_path: Path):
    video, speech = make_video(tmp_path / "v.mp4", 10), make_speech(tmp_path / "s.wav", 0.4)
    with pytest.raises(InputError, match=r"no face was found in .*v\.mp4"):
        tiny_pipeline(lambda frame: False)(video, speech, tmp_path / "deep" / "out.mp4", QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "v.mp4"]


@pytest.mark.parametrize("output", ["v.mp4", "s.wav", ".", "v.mp4/out.mp4"])
def test_an_invalid_output_is_rejected_before_any_work(pipeline: LipsyncPipeline, tmp_path: Path, output: str):
    video, speech = make_video(tmp_path / "v.mp4", 10), make_speech(tmp_path / "s.wav", 0.4)
    before = video.read_bytes(), speech.read_bytes()
    with pytest.raises(InputError):
        pipeline(video, speech, tmp_path / output, QUICK)
    assert (video.read_bytes(), speech.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "v.mp4"]


@pytest.mark.parametrize("extra", ["out_compare.mp4", "out_sheet.png"])
def test_files_beside_the_output_never_replace_an_input(pipeline: LipsyncPipeline, tmp_path: Path, extra: str):
    video = make_video(tmp_path / "v.mp4", 10).rename(tmp_path / extra)
    before = video.read_bytes()
    with pytest.raises(InputError, match=extra):
        pipeline(video, make_speech(tmp_path / "s.wav", 0.4), tmp_path / "out.mp4", replace(QUICK, compare=True))
    assert video.read_bytes() == before


def test_speech_shorter_than_a_frame_is_rejected(pipeline: LipsyncPipeline, tmp_path: Path):
    video, speech = make_video(tmp_path / "v.mp4", 10), make_speech(tmp_path / "s.wav", 0.01)
    with pytest.raises(InputError, match="less than one video frame"):
        pipeline(video, speech, tmp_path / "out.mp4", QUICK)


def test_ctrl_c_during_synthesis_leaves_no_file_and_no_folder(pipeline: LipsyncPipeline, tmp_path: Path):
    video, speech = make_video(tmp_path / "v.mp4", 60), make_speech(tmp_path / "s.wav", 2.4)
    temporary = tmp_path / "temporary"

    def interrupt(stage: str, done: float, total: int) -> None:
        if stage == "lips" and done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline(video, speech, tmp_path / "out.mp4", QUICK, temp_dir=temporary, progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "temporary", "v.mp4"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "the U-Net ran out of memory on cpu: try --batch_size 1, --vae_batch_size 1 or --dtype bfloat16",
        ),
        (NonFiniteError("the latents are not finite"), "the latents are not finite"),
    ],
)
def test_a_job_that_fails_inside_the_networks_gives_the_reason_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
):
    def forward(*given: object) -> None:
        raise error

    pipeline = tiny_pipeline(face_is_shown)
    monkeypatch.setattr(pipeline.synthesizer.unet, "forward", forward)
    video, speech = make_video(tmp_path / "v.mp4", 40), make_speech(tmp_path / "s.wav", 1.6)
    with pytest.raises((DeviceMemoryError, NonFiniteError)) as caught:
        pipeline(video, speech, tmp_path / "out.mp4", replace(QUICK, batch_windows=2))
    assert str(caught.value) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "v.mp4"]
