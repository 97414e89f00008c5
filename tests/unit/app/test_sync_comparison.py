import wave
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from latentsync.app.sync_comparison import (
    FaceCollector,
    NamedSyncScorer,
    compare_sync,
    frames_at_25,
    load_scorer,
    spoken_frames,
)
from latentsync.errors import InputError
from latentsync.judges.sync_score import SyncScore
from latentsync.pipelines.windows import FaceInterval

CPU = torch.device("cpu")
IDENTITY = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)


def frame(value: int) -> np.ndarray:
    return np.full((48, 48, 3), value, dtype=np.uint8)


def collect(present: list[bool], max_frames: int = 100) -> FaceCollector:
    faces = FaceCollector(32, max_frames, CPU)
    for i, there in enumerate(present):
        faces(i, frame(i), frame(100 + i), IDENTITY if there else None)
    return faces


def test_the_longest_interval_with_the_face_is_kept():
    start, crops = collect([True, True, False, True, True, True, False, True]).longest()
    assert start == 3
    assert [int(before.mean().round()) for before, _ in crops] == [3, 4, 5]
    assert [int(after.mean().round()) for _, after in crops] == [103, 104, 105]
    assert crops[0][0].shape == (32, 32, 3)


def test_no_more_is_kept_than_allowed():
    start, crops = collect([False] + [True] * 9, max_frames=4).longest()
    assert (start, len(crops)) == (1, 4)


def test_frames_of_other_people_are_not_taken():
    faces = FaceCollector(32, 100, CPU)
    faces.take_only(np.array([False, True, True, False]))
    for i in range(4):
        faces(i, frame(i), frame(100 + i), IDENTITY)
    start, crops = faces.longest()
    assert (start, len(crops)) == (1, 2)


def test_the_first_person_is_measured_where_the_mouth_is_generated_and_the_speech_lasts():
    voice = SimpleNamespace(samples=SimpleNamespace(num_samples=12 * 640))
    job = cast(Any, SimpleNamespace(num_frames=20, fps=Fraction(25)))
    intervals = [FaceInterval(0, 4, False), FaceInterval(4, 20, True)]
    shown = spoken_frames(job, cast(Any, SimpleNamespace(voice=voice)), intervals)
    assert np.flatnonzero(shown).tolist() == list(range(4, 12))


def test_large_crops_are_kept_small():
    faces = FaceCollector(512, 10, CPU)
    faces(0, np.zeros((600, 600, 3), np.uint8), np.zeros((600, 600, 3), np.uint8), IDENTITY)
    assert faces.longest()[1][0][0].shape == (256, 256, 3)


@pytest.mark.parametrize(("num_frames", "fps", "first"), [(5, 25, [0, 1, 2, 3, 4]), (10, 50, [0, 2, 4, 6, 8])])
def test_scorers_take_25_frames_per_second(num_frames: int, fps: float, first: list[int]):
    assert frames_at_25(num_frames, fps) == first


def test_lower_rates_show_frames_twice():
    assert frames_at_25(3, 12.5) == [0, 0, 1, 2, 2, 2]


class BrightnessScorer:
    """Record the audio, and return the brightness of the crops as the confidence."""

    def __init__(self) -> None:
        self.sounds: list[np.ndarray] = []

    def score(self, crops: np.ndarray, samples: np.ndarray) -> SyncScore:
        if len(crops) < 2:
            raise InputError("sync needs two frames")
        self.sounds.append(samples)
        return SyncScore(0, float(crops.mean()), 0.0)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.arange(16000) % 30000).astype("<i2").tobytes())
    return path


def test_both_scores_use_the_audio_of_their_interval(speech: Path, tmp_path: Path):
    scorer, checks = BrightnessScorer(), []
    faces = collect([False, True, True, True])
    comparison = compare_sync(
        NamedSyncScorer("a scorer", scorer), faces, 25, speech, tmp_path, lambda: checks.append(1)
    )
    assert comparison.before is not None
    assert comparison.after is not None
    assert comparison.before.confidence == pytest.approx(2, abs=0.5)
    assert comparison.after.confidence == pytest.approx(102, abs=0.5)
    assert [len(sound) for sound in scorer.sounds] == [1920, 1920]
    assert scorer.sounds[0][0] * 32768 == pytest.approx(640)
    assert checks == [1]


@pytest.mark.parametrize(("present", "reason"), [([True], "two frames"), ([False, False], "is absent")])
def test_the_reason_is_given_if_the_sync_cannot_be_measured(
    speech: Path, tmp_path: Path, present: list[bool], reason: str
):
    comparison = compare_sync(
        NamedSyncScorer("a scorer", BrightnessScorer()), collect(present), 25, speech, tmp_path, lambda: None
    )
    assert comparison.before is None
    assert reason in comparison.reason


def test_without_a_scorer_there_is_no_comparison(speech: Path, tmp_path: Path):
    assert load_scorer(CPU, tmp_path) is None
    assert compare_sync(None, collect([True]), 25, speech, tmp_path, lambda: None).before is None


def test_the_bundled_scorer_is_named(repository: Path, tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/demo", "configs"):
        (tmp_path / name).symlink_to(repository / name)
    scorer = load_scorer(CPU, tmp_path)
    assert scorer is not None
    assert "demo SyncNet" in scorer.name
