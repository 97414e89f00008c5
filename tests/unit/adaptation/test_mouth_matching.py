"""Matching the mouths of a video to those of speech."""

from itertools import pairwise

import numpy as np
import pytest

from latentsync.adaptation.mouth_matching import JUMP_COST, match_mouths, to_range

RNG = np.random.default_rng(0)
HEARD = RNG.random((200, 2)).astype(np.float32)
ONE_RECORDING = np.arange(200) == 0
ALL = np.ones(200, dtype=bool)


def test_a_passage_of_the_speech_is_found_whole():
    path = match_mouths(HEARD[60:90], HEARD, ONE_RECORDING, ALL)
    assert path.tolist() == list(range(60, 90))


def test_small_differences_do_not_break_a_passage():
    seen = HEARD[60:90] + RNG.normal(0, 0.03, (30, 2)).astype(np.float32)
    assert match_mouths(seen, HEARD, ONE_RECORDING, ALL).tolist() == list(range(60, 90))
    free = match_mouths(seen, HEARD, ONE_RECORDING, ALL, jump_cost=0.0)
    assert (np.diff(free) != 1).any(), "without a cost the nearest moment wins"


def test_moments_that_are_not_allowed_are_not_used():
    allowed = (np.arange(200) < 60) | (np.arange(200) >= 90)
    path = match_mouths(HEARD[55:95], HEARD, ONE_RECORDING, allowed)
    assert allowed[path].all()
    assert path[:5].tolist() == list(range(55, 60))


def test_a_passage_does_not_continue_in_the_next_recording():
    is_start = np.isin(np.arange(200), (0, 75))
    smooth = np.tile(np.linspace(0, 1, 200, dtype=np.float32)[:, None], (1, 2))
    free = match_mouths(smooth[70:80], smooth, ONE_RECORDING, ALL, jump_cost=10.0)
    cut = match_mouths(smooth[70:80], smooth, is_start, ALL, jump_cost=10.0)
    assert free.tolist() == list(range(70, 80))
    assert not ((cut[:-1] == 74) & (cut[1:] == 75)).any()


def test_the_best_path_is_that_of_an_exhaustive_search():
    heard, seen = HEARD[:6], HEARD[100:104]
    is_start = np.isin(np.arange(6), (0, 3))

    def cost(path: tuple[int, ...]) -> float:
        weights = np.array([1.0, 0.3])
        jumps = sum(JUMP_COST for a, b in pairwise(path) if b != a + 1 or is_start[b])
        return float((((heard[list(path)] - seen) ** 2) * weights).sum()) + jumps

    everything = np.stack(np.meshgrid(*[np.arange(6)] * 4, indexing="ij"), -1).reshape(-1, 4)
    best = min(cost(tuple(path)) for path in everything.tolist())
    found = match_mouths(seen, heard, is_start, np.ones(6, dtype=bool))
    assert cost(tuple(found.tolist())) == pytest.approx(best)


def test_the_range_of_the_footage_becomes_that_of_the_speech():
    seen = 0.1 + 0.2 * HEARD**2  # monotonic: the same order of openings at another size
    fitted = to_range(seen, seen, HEARD)
    np.testing.assert_allclose(fitted, HEARD, atol=0.03)
    part = to_range(seen[:20], seen, HEARD)
    np.testing.assert_allclose(part, fitted[:20])
