"""Frames and samples in memory through the pipeline of tiny networks: the frames that a video file would give."""

import threading
import wave
import weakref
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import ConfigError, InputError
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.dub_frames import dub_frames
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from tests.tiny_pipeline import tiny_pipeline

WIDTH, HEIGHT = 129, 112
RATE = 16000
QUICK = LipsyncOptions(num_inference_steps=1, guidance_scale=1.0)


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline()


def noisy_frame(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def speech(num_frames: int, fps: float = 25) -> np.ndarray:
    times = np.arange(round(num_frames / fps * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)


def test_frames_in_memory_give_what_a_video_file_gives(pipeline: LipsyncPipeline, tmp_path: Path):
    video = tmp_path / "v.mkv"
    with VideoWriter(video, WIDTH + 1, HEIGHT, Fraction(25), crf=0) as writer:
        for index in range(20):
            writer.write(np.pad(noisy_frame(index), ((0, 0), (0, 1), (0, 0))))
    samples = (speech(26) * 32767).astype(np.int16)
    write_wav(tmp_path / "s.wav", samples)
    expected: list[np.ndarray] = []
    pipeline(
        *(video, tmp_path / "s.wav", tmp_path / "out.mp4", QUICK),
        frame_callback=lambda index, source, result, matrix: expected.append(result.copy()),
    )
    with VideoReader(video) as frames:
        got = list(dub_frames(pipeline, frames, 25, samples, RATE, QUICK))
    assert len(got) == 26
    assert np.array_equal(got, expected)


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def test_pixels_outside_of_the_mouth_are_those_given(pipeline: LipsyncPipeline):
    frames = np.stack([noisy_frame(index) for index in range(6)])
    got = np.stack(list(dub_frames(pipeline, frames, 29.97, speech(6, 29.97), RATE, QUICK)))
    assert got.dtype == np.uint8
    assert got.shape == frames.shape
    assert np.array_equal(got[:, :, -20:], frames[:, :, -20:])
    assert not np.array_equal(got, frames)


def test_an_endless_iterable_is_read_once_as_far_as_the_speech_requires(pipeline: LipsyncPipeline):
    num_read, num_freed, most_alive = 0, 0, 0

    def free() -> None:
        nonlocal num_freed
        num_freed += 1

    def camera() -> Iterator[np.ndarray]:
        nonlocal num_read, most_alive
        for index in count():
            frame = noisy_frame(index)
            weakref.finalize(frame, free)
            num_read += 1
            most_alive = max(most_alive, num_read - num_freed)
            yield frame
            del frame

    got = list(dub_frames(pipeline, camera(), 30, np.stack([speech(40, 30)] * 2, axis=1), RATE, QUICK))
    assert len(got) == 40
    assert num_read <= 42
    assert most_alive <= 3


@pytest.mark.parametrize(("mode", "expected"), [("cut", 4), ("loop", 9), ("silence", 9)])
def test_the_length_follows_the_sync_mode(pipeline: LipsyncPipeline, mode: str, expected: int):
    frames = [noisy_frame(index) for index in range(4)]
    options = replace(QUICK, sync_mode=mode)
    assert len(list(dub_frames(pipeline, frames, 25, speech(9), RATE, options))) == expected


def test_closing_the_iterator_cancels_and_leaves_nothing(pipeline: LipsyncPipeline, tmp_path: Path):
    num_threads = threading.active_count()
    generated = dub_frames(
        *(pipeline, [noisy_frame(i) for i in range(60)], 25, speech(60), RATE, QUICK), temp_dir=tmp_path
    )
    next(generated)
    assert len(list(tmp_path.iterdir())) == 1
    generated.close()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() <= num_threads + 1  # the guard of an ended decoder wakes up once a second


class Stop(Exception):
    pass


def test_progress_is_reported_and_may_end_the_work(pipeline: LipsyncPipeline, tmp_path: Path):
    seen: list[tuple[str, float, int]] = []

    def progress(stage: str, done: float, total: int) -> None:
        seen.append((stage, done, total))
        if stage == "lips" and done >= 4:
            raise Stop

    frames = [noisy_frame(i) for i in range(40)]
    with pytest.raises(Stop):
        list(dub_frames(pipeline, frames, 25, speech(40), RATE, QUICK, tmp_path, progress))
    assert {stage for stage, _, _ in seen} == {"faces", "lips"}
    assert seen[-1][2] == 40
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_iterable_is_raised_unchanged(pipeline: LipsyncPipeline, tmp_path: Path):
    def camera() -> Iterator[np.ndarray]:
        yield noisy_frame(0)
        raise Stop

    with pytest.raises(Stop):
        list(dub_frames(pipeline, camera(), 25, speech(9), RATE, QUICK, tmp_path))
    assert list(tmp_path.iterdir()) == []


FRAMES = [noisy_frame(0)] * 3
REFUSED = {
    "no frames": (dict(frames=[]), "there are no frames"),
    "grey": (dict(frames=[np.zeros((8, 8), np.uint8)]), r"a frame has shape \(8, 8\)"),
    "floats": (dict(frames=[noisy_frame(0) / 255]), "frame 0 is float64"),
    "sizes": (dict(frames=[*FRAMES, np.zeros((8, 8, 3), np.uint8)]), r"frame 3 is uint8 of shape \(8, 8, 3\)"),
    "no rate": (dict(fps=0), "fps is 0"),
    "not a rate": (dict(fps=float("nan")), "fps is nan"),
    "no samples": (dict(samples=np.zeros(0)), r"samples have shape \(0,\)"),
    "NaN": (dict(samples=np.full(9000, np.nan)), "NaN"),
    "int32": (dict(samples=np.zeros(9000, np.int32)), "samples are int32"),
    "sample rate": (dict(sample_rate=0), "sample_rate is 0"),
    "short": (dict(samples=np.zeros(9, np.float32)), "less than one video frame"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_unusable_input_is_one_line_and_leaves_nothing(
    pipeline: LipsyncPipeline, tmp_path: Path, changes: dict, message: str
):
    given = dict(frames=FRAMES, fps=25, samples=speech(3), sample_rate=RATE) | changes
    with pytest.raises(InputError, match=message) as caught:
        list(dub_frames(pipeline, **given, options=QUICK, temp_dir=tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_exact_refuses_another_rate_than_that_of_the_model_at_the_call(pipeline: LipsyncPipeline):
    exact = replace(QUICK, exact=True, overlap_frames=0)
    with pytest.raises(ConfigError, match="video_fps is source, which contradicts exact"):
        dub_frames(pipeline, FRAMES, 30, speech(3), RATE, exact)
    assert len(list(dub_frames(pipeline, FRAMES, 25, speech(3), RATE, exact))) == 5
