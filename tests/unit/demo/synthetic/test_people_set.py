"""`python -m demo.synthetic people`: videos, voices and ground truth of scenes."""

import json
import shutil
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from demo.synthetic import conversation, people_set
from demo.synthetic.__main__ import main
from demo.synthetic.people_scene import PeopleScene
from demo.synthetic.speech import read_wav
from latentsync.media.reader import VideoReader
from tests.unit.demo.synthetic.people_without_espeak import vowels

Command = Callable[..., int]


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in scenes of 1 s."""
    monkeypatch.setattr(conversation, "speak", vowels)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["synthetic", "people", "--seconds", "1", *map(str, arguments)])
        return main()

    return run


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_scene_is_written_with_its_ground_truth(people: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--kind", "overlap", "--seed", 4, "--occluder", "mug", "--mask_images", "--turn", 30)
    assert people("--out", out, "--count", 1, *options) == 0
    truth = json.loads((out / "scene_000.json").read_text())
    scene = PeopleScene(4, 0, "overlap", 1.0, turn_degrees=30.0)
    assert abs(truth["head_turn"]["yaw_degrees"]) == truth["settings"]["turn"] == 30
    assert truth["files"] == {
        "video": "scene_000.mp4", "left": "scene_000_left.wav", "right": "scene_000_right.wav",
        "mask": "scene_000_mask.mkv", "mask_images": "scene_000_mask",
    }  # fmt: skip
    assert truth["occluder"]["kind"] == "mug"
    assert max(truth["occluder"]["mouth_hidden"]) > 0.6
    assert len(list((out / "scene_000_mask").iterdir())) == 25
    assert {path.name for path in out.glob("scene*")} == {"scene_000.json", *truth["files"].values()}
    assert truth["kind"] == "overlap"
    assert [turn["person"] for turn in truth["turns"]] == [("left", "right")[turn.person] for turn in scene.turns]
    assert len(truth["overlaps_s"]) == 1
    assert truth["people"]["left"]["text"]
    for person, side in enumerate(("left", "right")):
        rows = truth["people"][side]
        assert np.abs(np.array(rows["anchors"]) - scene.truth[person].anchors).max() < 1e-3
        assert rows["speaking"] == scene.truth[person].speaking.tolist()
        assert len(rows["boxes"]) == len(rows["visible"]) == truth["num_frames"] == 25
        assert np.abs(read_wav(out / f"scene_000_{side}.wav") - scene.voices[person]).max() < 1e-4
        with wave.open(str(out / f"scene_000_{side}.wav")) as voice:
            assert voice.getnframes() == 16000
    with VideoReader(out / "scene_000.mp4") as frames:
        video = list(frames)
    assert len(video) == 25
    occluder = scene.occluder("mug")
    frame = next(scene.frames([11]))
    assert occluder.mask(11).any()
    assert np.abs(video[11].astype(int) - occluder.draw(frame, 11)).mean() < 3
    assert np.abs(video[11].astype(int) - frame)[occluder.mask(11) == 255].mean() > 15


def test_existing_scenes_are_kept_and_missing_ones_made(
    people: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, str]] = []

    def write(path: Path, settings: dict) -> None:
        made.append((settings["index"], settings["kind"]))
        path.write_text(json.dumps({"settings": settings}))

    monkeypatch.setattr(people_set, "_write_scene", write)
    assert people("--out", tmp_path / "out", "--count", 2) == 0
    assert people("--out", tmp_path / "out", "--count", 6) == 0
    assert made == [(0, "turns"), (1, "overlap"), (2, "crossing"), (3, "cut"), (4, "still"), (5, "turns")]


def test_scenes_of_other_settings_are_refused(
    people: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".latentsync.json").write_text('{"made_by": "synthetic people"}')
    (out / "scene_000.json").write_text('{"settings": {"seed": 1}}')
    assert people("--out", out, "--count", 1) == 2
    error = capsys.readouterr().err
    assert error == f"error: {out / 'scene_000.json'} is a scene of other settings: name another folder with --out\n"
    assert (out / "scene_000.json").read_text() == '{"settings": {"seed": 1}}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mask_images",), "--mask_images without --occluder: there is no mask; add --occluder hand"),
        (("--count", 0), "--count 0: use at least 1"),
        (("--turn", 60), "--turn 60: choose up to 40 degrees"),
        (("--seconds", 0.5), "--seconds 0.5: choose between 1 and 600"),
    ],
)
def test_bad_numbers_are_one_line(
    people: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple, message: str
) -> None:
    assert people("--out", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_users_is_refused(people: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scene_000.json").write_text("the user's")
    assert people("--out", tmp_path) == 2
    assert "holds files that this program did not make: name another folder with --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["scene_000.json"]
