import numpy as np
import pytest

from eval.demo_weights import networks
from eval.demo_weights import networks as module
from eval.demo_weights.networks import measure_syncnet, real_crops, shares
from eval.demo_weights.settings import find_videos
from latentsync.errors import InputError
from latentsync.face.align import alignment_matrices, crop_faces
from tests.tiny_pipeline import ANCHORS, ToldDetector


def test_shares_of_both_sides_of_the_threshold():
    positives, negatives = np.array([0.2, 0.5, 0.6, 0.9]), np.array([0.1, 0.3, 0.5, 0.7, 0.8])
    assert shares(positives, negatives, 0.5) == (0.5, pytest.approx(0.6))
    assert shares(positives, negatives, 1.0) == (0, 1)


class FixedScorer:
    """Similarity by distance in time only."""

    def __init__(self, similarity: dict[int, float], offset: int = 0) -> None:
        self.similarity, self.offset = similarity, offset

    def similarities(self, crops: np.ndarray, samples: np.ndarray) -> np.ndarray:
        starts = np.arange(40)
        gaps = np.abs(starts[None] + self.offset - starts[:, None])
        return np.vectorize(lambda gap: self.similarity.get(gap, 0.1))(gaps)


class Clips:
    clips = ()
    crops = None

    def speech(self):
        return None


def measured(monkeypatch, scorer) -> dict[str, float]:
    monkeypatch.setattr(networks, "load_scorer", lambda evaluation: scorer)
    evaluation = Clips()
    evaluation.clips = (Clips(), Clips())
    return measure_syncnet(evaluation)  # type: ignore[arg-type]


def test_negatives_begin_three_frames_away(monkeypatch):
    values = measured(monkeypatch, FixedScorer({0: 0.9, 1: 0.8, 2: 0.8}))
    assert (values["hit"], values["reject"], values["accuracy"], values["offset_0"]) == (1, 1, 1, 1)
    near = measured(monkeypatch, FixedScorer({0: 0.9, 3: 0.8}))
    assert near["reject"] == pytest.approx(1 - 2 * 37 / (37 * 38), abs=1e-6)
    assert near["accuracy"] == pytest.approx((1 + near["reject"]) / 2)
    assert near["best_accuracy"] == 1
    assert 0.8 <= near["best_threshold"] < 0.9


def test_a_wrong_offset_is_not_counted(monkeypatch):
    values = measured(monkeypatch, FixedScorer({0: 0.9}, offset=2))
    assert values["offset_0"] == 0
    assert values["worst_offset"] == 2


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
