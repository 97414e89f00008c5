"""Raw videos: every file has the fault it is named after, and no other."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from demo.synthetic.__main__ import main
from demo.synthetic.raw import EXPECTED, FAULTS, RawConfig, make_raw_videos
from latentsync.errors import InputError
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.storage.owned_folder import LOCK, MARKER
from preprocess.step import Clip, Done, Rejected
from preprocess.steps.step_1_broken import BrokenStep
from preprocess.steps.step_3_shots import find_shot_starts

pytestmark = pytest.mark.needs_espeak
CONFIG = RawConfig(num_good=2, size=80, seconds=1.2, resolution=32)
NUM_FRAMES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, espeak: str) -> Path:
    folder = tmp_path_factory.mktemp("raw videos")
    make_raw_videos(folder, CONFIG)
    return folder


def frames(path: Path) -> list[NDArray[np.uint8]]:
    with VideoReader(path, fps=Fraction(25)) as reader:
        return list(reader)


def samples(path: Path) -> NDArray[np.float32]:
    with AudioSamples.decode(path) as sound:
        return sound.read(0, sound.num_samples)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def detail(frame: NDArray[np.uint8]) -> float:
    return float(np.abs(np.diff(frame.astype(int), n=2, axis=1)).mean())


def test_everything_is_there_and_described(folder: Path) -> None:
    expected = json.loads((folder / EXPECTED).read_text())["files"]
    assert sorted(expected) == sorted(
        path.name for path in folder.iterdir() if path.name not in (EXPECTED, MARKER, LOCK)
    )
    assert sum(entry["fault"] == "none" for entry in expected.values()) == 2
    assert {entry["fault"] for entry in expected.values()} == {*FAULTS, "none"}
    assert expected["sound_early_5.mp4"]["shift_frames"] == -5
    assert expected["three_shots.mp4"]["ends"][0] == {"step": 8, "reason": "kept", "num_clips": 1}


def test_step_1_says_what_is_expected_of_it(folder: Path, tmp_path: Path) -> None:
    process = BrokenStep().load(torch.device("cpu"))
    for name, entry in json.loads((folder / EXPECTED).read_text())["files"].items():
        work = tmp_path / name
        work.mkdir()
        verdict = process(Clip("0", "0", name, folder / name), work)
        end = entry["ends"][0]
        if end["step"] == 1:
            assert isinstance(verdict, Rejected), name
            assert verdict.reason == end["reason"], name
        else:
            assert isinstance(verdict, Done), (name, verdict)


def test_frame_rates(folder: Path) -> None:
    for name, fps in (("good_000", "25"), ("fps_60", "60"), ("fps_24000_1001", "24000/1001")):
        assert probe_video(folder / f"{name}.mp4").fps == Fraction(fps)
    variable = folder / "variable_rate.mp4"
    with VideoReader(variable, fps=Fraction(200)) as reader:
        shown = [frame.astype(int).mean() for frame in reader]
    held = np.diff([0, *np.flatnonzero(np.diff(shown)), len(shown) - 1])
    assert {8, 16} <= set(held.tolist())
    for name in ("fps_60", "fps_24000_1001", "variable_rate"):
        assert abs(probe_video(folder / f"{name}.mp4").duration_s - CONFIG.seconds) < 0.06


def test_pictures(folder: Path) -> None:
    good, other = frames(folder / "good_000.mp4"), frames(folder / "good_001.mp4")
    assert len(good) == NUM_FRAMES
    assert difference(good[0], other[0]) > 10
    assert difference(frames(folder / "rotated.mp4")[20], good[20]) < 4
    two = frames(folder / "two_faces.mp4")[20]
    assert difference(two, np.concatenate([good[20], other[20]], axis=1)) < 4
    small = frames(folder / "small_face.mp4")[20]
    assert small.shape == good[20].shape
    assert np.ptp(small[:20].astype(int)) < 8
    assert small[32:48, 32:48].std() > 10
    leaves = frames(folder / "face_leaves.mp4")
    assert difference(leaves[10], good[10]) < 4
    assert np.ptp(leaves[-1].astype(int)) < 8
    assert max(int(frame.max()) for frame in frames(folder / "black.mp4")) < 8
    blurred = frames(folder / "blur.mp4")[20]
    assert detail(blurred) < 0.5 * detail(good[20])


def test_three_shots(folder: Path) -> None:
    assert find_shot_starts(frames(folder / "three_shots.mp4")) == [0, NUM_FRAMES, 2 * NUM_FRAMES]


@pytest.mark.parametrize(("name", "shift"), [("sound_late_5", 5), ("sound_early_5", -5), ("sound_late_10", 10)])
def test_shifted_sound(folder: Path, name: str, shift: int) -> None:
    good, moved = samples(folder / "good_000.mp4"), samples(folder / f"{name}.mp4")
    length = min(len(good), len(moved))
    spectrum = np.fft.rfft(moved[:length], 2 * length) * np.conj(np.fft.rfft(good[:length], 2 * length))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    assert abs((lag if lag < length else lag - 2 * length) - shift * 640) <= 4
    assert difference(frames(folder / f"{name}.mp4")[15], frames(folder / "good_000.mp4")[15]) == 0


def test_other_speech_is_the_second_s(folder: Path) -> None:
    np.testing.assert_array_equal(samples(folder / "other_speech.mp4"), samples(folder / "good_001.mp4"))


def test_a_second_run_makes_what_is_missing_and_nothing_else(folder: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    (folder / "fps_60.mp4").unlink()
    (folder / "good_001.mp4").unlink()
    make_raw_videos(folder, CONFIG)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    made = {name for name in after if after[name][1] != before[name][1]}
    assert made == {"fps_60.mp4", "good_001.mp4", EXPECTED}


def test_other_settings_need_another_folder(folder: Path) -> None:
    with pytest.raises(InputError, match="other settings"):
        make_raw_videos(folder, RawConfig(num_good=3, size=80, seconds=1.2, resolution=32))


@pytest.mark.parametrize("options", [["--num_good", "1"], ["--size", "100"], ["--size", "641"]])
def test_impossible_options_are_one_line(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["synthetic", "raw", "--out", str(tmp_path / "out"), *options])
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"error: {options[0]}")
    assert not (tmp_path / "out").exists()
