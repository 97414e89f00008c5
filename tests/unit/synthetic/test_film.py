"""Full-frame clips as video files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import ToolError
from latentsync.synthetic import film
from latentsync.synthetic.clip import TalkingClip

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
def test_a_format_ffmpeg_does_not_know_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="could not write"):
        film.write_film(CLIP, tmp_path / "film.nosuchformat")
    assert list(tmp_path.iterdir()) == []


def test_missing_ffmpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film.shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="ffmpeg"):
        film.write_film(CLIP, tmp_path / "film.mp4")
