"""Full-frame clips as video files."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.synthetic import film
from demo.synthetic.clip import TalkingClip
from demo.synthetic.speech import read_wav, write_wav
from latentsync.data.video_window import read_frames
from latentsync.errors import ToolError
from latentsync.media.audio_samples import AudioSamples

CLIP = TalkingClip(0, 1, 0.2, np.zeros(3200, dtype=np.float32), frame_size=128)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_film_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "-a film.mp4"
    film.write_film(CLIP, path)
    assert list(tmp_path.iterdir()) == [path]
    content = path.read_bytes()
    assert b"avc1" in content
    assert b"mp4a" in content


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_training_film_has_the_crops_nearly_and_the_speech_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    crops = np.stack([np.asarray(cv2.resize(frame, (64, 64), interpolation=cv2.INTER_CUBIC)) for frame in coarse])
    samples = (0.3 * rng.standard_normal(12800)).clip(-1, 1).astype(np.float32)
    write_wav(tmp_path / "speech.wav", samples)
    film.write_training_film(crops, tmp_path / "speech.wav", tmp_path / "clip.mp4")
    frames = read_frames(tmp_path / "clip.mp4", range(20), 64)
    assert 10 * np.log10(255**2 / np.square(frames.astype(float) - crops).mean()) > 38
    with AudioSamples.decode(tmp_path / "clip.mp4") as sound:
        np.testing.assert_array_equal(sound.read(0, sound.num_samples), read_wav(tmp_path / "speech.wav"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: it writes videos")
def test_a_format_ffmpeg_does_not_know_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not write"):
        film.write_film(CLIP, tmp_path / "film.nosuchformat")
    assert list(tmp_path.iterdir()) == []


def test_missing_ffmpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="ffmpeg"):
        film.write_film(CLIP, tmp_path / "film.mp4")
