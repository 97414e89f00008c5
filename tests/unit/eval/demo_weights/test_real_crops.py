import numpy as np
import pytest

from eval.demo_weights import real_crops as module
from eval.demo_weights.real_crops import find_videos, real_crops
from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces
from tests.tiny_pipeline import ANCHORS, ToldDetector


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two "videos" of four frames; the detector finds the face in bright frames."""
    for name in ("b.mp4", "a.MOV", "speech.wav"):
        (tmp_path / name).touch()
    frames = [np.full((120, 140, 3), level, np.uint8) for level in (200, 10, 180, 10)]
    monkeypatch.setattr(module, "_frames", lambda video: iter(frames))
    monkeypatch.setattr(module, "build_detector", lambda *_: ToldDetector(lambda frame: frame.mean() > 100))
    return tmp_path


def test_every_video_gives_the_crops_of_frames_with_a_face(folder):
    crops = dict(real_crops(folder, 32))
    assert list(crops) == ["a", "b"]
    assert crops["a"].shape == (2, 32, 32, 3)
    frame = np.full((120, 140, 3), 200, np.uint8)
    expected = crop_faces([frame], alignment_matrices(ANCHORS[None], 32), 32)[0].permute(1, 2, 0).numpy()
    assert np.abs((expected + 1) * 127.5 - crops["a"][0]).max() <= 0.51


def test_no_videos_and_no_faces_are_clear_errors(folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no videos"):
        find_videos(tmp_path / "empty")
    monkeypatch.setattr(module, "build_detector", lambda *_: ToldDetector(lambda frame: False))
    with pytest.raises(InputError, match="no face found"):
        next(real_crops(folder, 32))
