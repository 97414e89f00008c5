"""Data sets of synthetic clips: written resumably, each clip whole or not at all."""

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demo.synthetic.clip import TalkingClip
from demo.synthetic.clip_set import DatasetConfig, clip_folder, make_clip, make_dataset
from demo.synthetic.speech import read_wav
from latentsync.data.video_window import read_video_facts
from latentsync.errors import InputError
from latentsync.storage.owned_folder import LOCK, MARKER


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
        with wave.open(str(folder / "speech.wav")) as audio:
            assert (audio.getframerate(), audio.getsampwidth(), audio.getnchannels()) == (16000, 2, 1)
        assert json.loads((folder / "meta.json").read_text())["index"] == index
    assert sorted(p.name for p in config.out.iterdir() if p.name not in (MARKER, LOCK)) == ["clip_00000", "clip_00001"]
    for other in ({"seed": 1}, {"look": "mixed"}, {"resolution": 96}):
        with pytest.raises(InputError, match=r"clip_0000[01] was created with seed 9, look plain, "):
            make_dataset(replace(config, **other))


@pytest.mark.needs_espeak
def test_a_folder_without_training_clip_is_completed_from_its_crops(tmp_path: Path) -> None:
    config = DatasetConfig(tmp_path, num_clips=1, seconds=0.4, seed=9, resolution=64)
    make_dataset(config)
    folder = clip_folder(config, 0)
    written = (folder / "clip.mp4").read_bytes()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "clip.mp4"}
    (folder / "clip.mp4").unlink()
    assert make_dataset(config) == 1
    assert (folder / "clip.mp4").read_bytes() == written
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    assert make_dataset(config) == 0
    (folder / "clip.mp4").unlink()
    (folder / "crops.npy").unlink()
    with pytest.raises(InputError, match=r"clip_00000 lacks crops\.npy"):
        make_dataset(config)


@pytest.mark.needs_espeak
def test_an_interrupted_clip_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(clip: TalkingClip, resolution: int, alignment: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TalkingClip, "crops", broken)
    with pytest.raises(KeyboardInterrupt):
        make_clip(DatasetConfig(tmp_path, 1, 0.3), 0)
    assert list(tmp_path.iterdir()) == []
