import numpy as np
import pytest

from eval.demo_weights import sync_figures
from eval.demo_weights.sync_figures import measure_syncnet, shares


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
    monkeypatch.setattr(sync_figures, "load_scorer", lambda evaluation: scorer)
    evaluation = Clips()
    evaluation.clips = (Clips(), Clips())
    return measure_syncnet(evaluation)  # type: ignore[arg-type]


def test_negatives_begin_three_frames_away(monkeypatch):
    figures = measured(monkeypatch, FixedScorer({0: 0.9, 1: 0.8, 2: 0.8}))
    assert (figures["hit"], figures["reject"], figures["accuracy"], figures["offset_0"]) == (1, 1, 1, 1)
    near = measured(monkeypatch, FixedScorer({0: 0.9, 3: 0.8}))
    assert near["reject"] == pytest.approx(1 - 2 * 37 / (37 * 38), abs=1e-6)
    assert near["accuracy"] == pytest.approx((1 + near["reject"]) / 2)
    assert near["best_accuracy"] == 1
    assert 0.8 <= near["best_threshold"] < 0.9


def test_a_wrong_offset_is_not_counted(monkeypatch):
    figures = measured(monkeypatch, FixedScorer({0: 0.9}, offset=2))
    assert figures["offset_0"] == 0
    assert figures["worst_offset"] == 2
