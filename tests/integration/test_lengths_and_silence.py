"""The pipeline with video and speech of different lengths, and with sound that is no speech."""

import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.media.audio_samples import SAMPLE_RATE, AudioSamples
from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import SYNC_MODES, LipsyncOptions
from tests.tiny_pipeline import tiny_pipeline

WIDTH, HEIGHT = 128, 112
SOUND_RATE = 48000
SPEECH_FRAMES = 12
SHORTER, LONGER = 5, 18
STEP = 12
"""Difference of the marker's level between successive frames."""

FRAMES = {
    ("bounce", SHORTER): [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3],
    ("loop", SHORTER): [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1],
    ("freeze", SHORTER): [0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4],
    ("cut", SHORTER): [0, 1, 2, 3, 4],
    ("silence", SHORTER): [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3],
    **{(mode, LONGER): list(range(SPEECH_FRAMES)) for mode in ("bounce", "loop", "freeze", "cut")},
    ("silence", LONGER): list(range(LONGER)),
    **{(mode, SPEECH_FRAMES): list(range(SPEECH_FRAMES)) for mode in SYNC_MODES},
}


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline()


def make_video(path: Path, num_frames: int) -> Path:
    """Write frames whose number is the level of the top right corner, where no mouth is generated."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(25), crf=0) as writer:
        for i in range(num_frames):
            frame = np.stack((x + 60, y + 70, (x + y) // 2 + 50), axis=-1) + i
            frame[:16, -16:] = 20 + STEP * i
            writer.write(frame.astype(np.uint8))
    return path


def make_sound(path: Path, num_frames: int, level: float = 0.4) -> Path:
    times = np.arange(num_frames * SOUND_RATE // 25) / SOUND_RATE
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((level * 32767 * np.sin(2 * np.pi * 220 * times)).astype("<i2").tobytes())
    return path


def read(path: Path) -> np.ndarray:
    with VideoReader(path, fps=None) as reader:
        return np.stack(list(reader)).astype(int)


@pytest.mark.parametrize(
    ("mode", "video_frames"),
    [pytest.param(*case, marks=[pytest.mark.long] * (case[1] == SPEECH_FRAMES)) for case in FRAMES],
)
def test_every_mode_gives_its_frames_and_its_sound(
    pipeline: LipsyncPipeline, tmp_path: Path, mode: str, video_frames: int
) -> None:
    video, sound = make_video(tmp_path / "v.mp4", video_frames), make_sound(tmp_path / "s.wav", SPEECH_FRAMES)
    expected, out = FRAMES[mode, video_frames], tmp_path / "out.mp4"
    options = LipsyncOptions(1, 1.0, crf=0, sync_mode=mode)
    done: list[tuple[float, int]] = []
    report = pipeline(video, sound, out, options, progress=lambda stage, frame, total: done.append((frame, total)))
    marks = read(out)[:, :16, -16:].mean(axis=(1, 2, 3))
    assert np.round((marks - 20) / STEP).astype(int).tolist() == expected
    assert report.num_frames == report.num_synced == len(expected)
    assert done[-1] == (len(expected), len(expected))
    with AudioSamples.decode(out) as samples:
        assert samples.duration_s == pytest.approx(len(expected) / 25, abs=0.03)
        tail = samples.read(SPEECH_FRAMES * SAMPLE_RATE // 25 + 800, samples.num_samples)
    assert np.abs(tail).max(initial=0) < 1e-3
    assert report.people[0].spans.get("no speech") == ([(12, 18)] if len(expected) > SPEECH_FRAMES else None)


@pytest.mark.parametrize(("silence", "first"), [("off", SPEECH_FRAMES), ("keep", 0), ("close", 0)])
def test_without_speech_the_sources_mouth_moves_nothing(
    pipeline: LipsyncPipeline, tmp_path: Path, silence: str, first: int
) -> None:
    """The first frame beyond the sound, or without speech if that is searched, is the reference image of the rest."""
    video, sound = make_video(tmp_path / "v.mp4", LONGER), make_sound(tmp_path / "s.wav", SPEECH_FRAMES)
    has_other_reference: list[bool] = []
    encode = pipeline.synthesizer.encode

    def spy(crops, start, options, references=None):
        differs = torch.zeros_like(crops) if references is None else crops != references
        has_other_reference.extend(differs.flatten(1).any(dim=1).tolist())
        return encode(crops, start, options, references)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.synthesizer, "encode", spy)
        pipeline(video, sound, tmp_path / "out.mp4", LipsyncOptions(1, 1.0, sync_mode="silence", silence=silence))
    assert has_other_reference == [False] * (first + 1) + [True] * (LONGER - first - 1)


def test_sound_without_speech_is_as_silence(
    pipeline: LipsyncPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(tmp_path / "v.mp4", SPEECH_FRAMES)
    tone, nothing = make_sound(tmp_path / "tone.wav", 12), make_sound(tmp_path / "nothing.wav", 12, level=0.0)

    def dub(sound: Path, silence: str) -> np.ndarray:
        out = tmp_path / f"{sound.stem}_{silence}.mp4"
        report = pipeline(video, sound, out, LipsyncOptions(1, 1.0, crf=0, silence=silence))
        spans = report.people[0].spans.get("no speech")
        assert spans == (None if silence == "off" else [(0, 12)])
        assert any("no speech: 0.00-0.48 s" in line for line in report.lines()) == (silence != "off")
        return read(out)

    assert (dub(tone, "off") != dub(nothing, "off")).any()
    assert not caplog.messages
    for silence in ("keep", "close"):
        np.testing.assert_array_equal(dub(tone, silence), dub(nothing, silence))
        assert caplog.messages[-2].endswith("tone.wav: it moves no mouth")
    with AudioSamples.decode(tmp_path / "tone_close.mp4") as samples:  # the sound of the result is unchanged
        assert np.abs(samples.read(2000, 4000)).max() > 0.3
