"""Data sets of synthetic clips: pure functions of (seed, index), resumable, complete or absent."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest

from demo.synthetic import speech
from demo.synthetic.clip import TalkingClip, _fixed_box
from demo.synthetic.dataset import DatasetConfig, clip_folder, make_clip, make_dataset
from demo.synthetic.mouth_track import mouth_track
from demo.synthetic.speech import Voice, random_speech, read_wav, speak
from latentsync.data.video_window import read_video_facts
from latentsync.errors import InputError, ToolError
from latentsync.face.align import alignment_matrices
from latentsync.storage.owned_folder import LOCK, MARKER

TONE = (0.5 * np.sin(np.arange(8000) * 0.2) * np.sin(np.arange(8000) * 0.002)).astype(np.float32)


def test_a_clip_depends_on_seed_and_index_only() -> None:
    def first_crop(seed: int, index: int) -> np.ndarray:
        return next(TalkingClip(seed, index, 0.5, TONE).crops(64))

    assert (first_crop(3, 1) == first_crop(3, 1)).all()
    assert (first_crop(3, 1) != first_crop(3, 2)).any()
    assert (first_crop(3, 1) != first_crop(4, 1)).any()


def test_frames_and_tracks_of_a_clip_agree() -> None:
    clip = TalkingClip(0, 0, 0.5, TONE)
    assert len(clip.states) == len(clip.frame_track) == len(clip.anchors()) == 12
    assert [s.opening for s in clip.states] == pytest.approx(clip.frame_track[:, 0].tolist())
    np.testing.assert_allclose(clip.frame_track[5], clip.track[20], atol=1e-6)
    assert next(clip.frames(1)).shape == (512, 512, 3)


@pytest.mark.needs_espeak
def test_speech_is_reproducible_has_its_length_and_pauses() -> None:
    first, second = (random_speech(np.random.default_rng(2), 3.0, True) for _ in range(2))
    assert first.text == second.text
    assert (first.samples == second.samples).all()
    assert first.samples.shape == (48000,)
    assert np.abs(first.samples).max() > 0.3
    track = mouth_track(first.samples)
    assert track[:, 0].max() > 0.8
    assert (track[:, 0] < 0.02).mean() > 0.03


def test_a_missing_speech_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="espeak-ng"):
        speak("hello", Voice("en-us", "m1", 50, 160))


@pytest.mark.needs_espeak
def test_a_data_set_is_complete_and_resumed(tmp_path: Path) -> None:
    config = DatasetConfig(tmp_path / "set", num_clips=2, seconds=0.6, seed=9, resolution=64)
    assert make_clip(config, 1)
    assert not make_clip(config, 1)
    stamp = (clip_folder(config, 1) / "crops.npy").stat().st_mtime_ns
    assert make_dataset(config) == 1
    assert (clip_folder(config, 1) / "crops.npy").stat().st_mtime_ns == stamp
    for index in (0, 1):
        folder = clip_folder(config, index)
        assert read_video_facts(folder / "clip.mp4") == (15, 64, 64, 25.0)
        assert np.load(folder / "crops.npy", mmap_mode="r").shape == (15, 64, 64, 3)
        assert np.load(folder / "frames_track.npy").shape == (15, 2)
        assert np.load(folder / "track.npy").shape == (61, 2)
        assert len(read_wav(folder / "speech.wav")) == 9600
        with wave.open(str(folder / "speech.wav")) as sound:
            assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (16000, 2, 1)
        assert json.loads((folder / "meta.json").read_text())["index"] == index
    assert sorted(p.name for p in config.out.iterdir() if p.name not in (MARKER, LOCK)) == ["clip_00000", "clip_00001"]


@pytest.mark.needs_espeak
def test_a_clip_made_without_a_film_is_given_one_from_its_crops(tmp_path: Path) -> None:
    config = DatasetConfig(tmp_path, num_clips=1, seconds=0.4, seed=9, resolution=64)
    make_dataset(config)
    folder = clip_folder(config, 0)
    film = (folder / "clip.mp4").read_bytes()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "clip.mp4"}
    (folder / "clip.mp4").unlink()
    assert make_dataset(config) == 1
    assert (folder / "clip.mp4").read_bytes() == film
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    assert make_dataset(config) == 0
    (folder / "clip.mp4").unlink()
    (folder / "crops.npy").unlink()
    with pytest.raises(InputError, match=r"clip_00000 lacks crops\.npy"):
        make_dataset(config)


def test_a_fixed_box_begins_at_the_face_and_does_not_follow_it() -> None:
    clip = TalkingClip(3, 1, 4.0, np.zeros(64000, dtype=np.float32))
    box = _fixed_box(clip._detected()[0], 128)
    aligned = alignment_matrices(clip._detected(), 128)
    truth = np.concatenate([clip.anchors(), np.ones((100, 3, 1))], axis=2)
    in_box, in_crop = truth @ box.T, np.einsum("fij,fpj->fpi", aligned, truth)
    middle = in_crop[0].mean(axis=0)
    assert np.abs(in_box[0].mean(axis=0) - middle).max() < 6
    assert (box[0, 0], box[0, 1]) == (box[1, 1], 0)
    assert in_box.mean(axis=1).std(axis=0).max() > 3 * in_crop.mean(axis=1).std(axis=0).max()
    assert next(clip.crops(64, "fixed_box")).shape == (64, 64, 3)


@pytest.mark.needs_espeak
def test_a_broken_off_clip_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(clip: TalkingClip, resolution: int, alignment: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TalkingClip, "crops", broken)
    with pytest.raises(KeyboardInterrupt):
        make_clip(DatasetConfig(tmp_path, 1, 0.3), 0)
    assert list(tmp_path.iterdir()) == []
