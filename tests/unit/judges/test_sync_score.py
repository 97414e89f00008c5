"""Known offsets are found with the right sign in the curves of both scorers."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from latentsync.judges.stable_sync_scorer import in_sync_similarity, score_similarities, similarity_curve
from latentsync.judges.sync_score import SHIFTS, distance_curve, score_distances

NUM_FRAMES = 60


def embeddings(offset: int, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (t, 16) of video and audio; the video lags `offset` frames behind its audio."""
    rng = np.random.default_rng(offset + 100)
    steady = rng.standard_normal((NUM_FRAMES + 40, 16))
    audio = steady[20 : 20 + NUM_FRAMES]
    lips = steady[20 - offset : 20 - offset + NUM_FRAMES] + noise * rng.standard_normal((NUM_FRAMES, 16))
    return tuple(values / np.linalg.norm(values, axis=1, keepdims=True) for values in (lips, audio))  # type: ignore


@pytest.mark.parametrize("offset", range(-6, 7))
def test_known_offsets_are_found(offset):
    lips, audio = embeddings(offset)
    assert score_distances(distance_curve(lips, audio)).offset == offset
    assert score_similarities(similarity_curve(np.clip(lips @ audio.T, 0, 1))).offset == offset


def test_distance_curve_is_the_published_rule():
    lips, audio = embeddings(2)
    padded = np.concatenate([np.zeros((15, 16)), audio, np.zeros((15, 16))])
    distances = cdist(lips, padded)
    expected = [np.mean([distances[i, i + k] for i in range(NUM_FRAMES)]) for k in range(31)]
    curve = distance_curve(lips, audio)
    np.testing.assert_allclose(curve, expected)
    score = score_distances(curve)
    assert score.offset == 15 - int(np.argmin(expected)) == 2
    assert score.confidence == pytest.approx(np.median(expected) - min(expected))
    assert score.distance == pytest.approx(min(expected))


def test_the_longer_one_is_truncated():
    lips, audio = embeddings(0)
    np.testing.assert_allclose(distance_curve(lips[:40], audio), distance_curve(lips[:40], audio[:40]))


def test_similarity_curve_is_a_mean_over_the_existing_pairs():
    similarities = np.arange(12.0).reshape(3, 4)[:, :3]
    curve = similarity_curve(similarities)
    assert curve[SHIFTS.index(0)] == in_sync_similarity(curve) == pytest.approx((0 + 5 + 10) / 3)
    assert curve[SHIFTS.index(1)] == pytest.approx((1 + 6) / 2)
    assert curve[SHIFTS.index(-2)] == 8
    assert np.isnan(curve[SHIFTS.index(3)])


def test_unrelated_audio_has_no_confidence():
    lips, _ = embeddings(0)
    _, audio = embeddings(1)
    related = score_distances(distance_curve(*embeddings(0)))
    assert score_distances(distance_curve(lips, audio)).confidence < 0.3 * related.confidence
