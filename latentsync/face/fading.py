"""Fade the generated mouth out and in, so that it never flickers between the source's and the generated one."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

_FADE_S = 0.16
_FEWEST_FADE_FRAMES = 4


def faded_strength(
    out: NDArray[np.bool_], segments: Sequence[tuple[int, int]], fps: float = 25.0
) -> NDArray[np.float32]:
    """Return the weight of the generated mouth in every frame: 0 where it is faded out, 1 far from there.

    The weight falls and rises linearly over at least four frames (0.16 s), which lie outside the frames that are
    faded out. Both states last three times as long or longer: a shorter fade-out is extended, a shorter return is
    skipped. Segments do not affect each other.

    Args:
        out: (n,) True where the mouth must be the source's.
        segments: (start, stop) of the frames with the face, stop excluded, see `FacePlan.segments`.
        fps: frames per second.

    Returns:
        (n,) in [0, 1]; 1 outside the segments.
    """
    strength = np.ones(len(out), dtype=np.float32)
    num_fade = max(_FEWEST_FADE_FRAMES, round(_FADE_S * fps))
    for start, stop in segments:
        away = _with_shortest_length(out[start:stop], 3 * num_fade)
        if away.any():
            strength[start:stop] = np.minimum(_distance_to(away) / (num_fade + 1), 1.0)
    return strength


def _with_shortest_length(away: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Return `away` (n,) with runs of True extended to a length of `shortest`, then shorter runs of False set."""
    away = away.copy()
    for value, start, stop in _runs(away):
        if value and stop - start < shortest:
            first = min(max(0, start - (shortest - (stop - start)) // 2), max(0, len(away) - shortest))
            away[first : first + shortest] = True
    if away.any():
        for value, start, stop in _runs(away):
            if not value and stop - start < shortest:
                away[start:stop] = True
    return away


def _distance_to(marked: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return (n,) the distance of every index to the nearest marked one."""
    places = np.arange(len(marked))
    before = np.maximum.accumulate(np.where(marked, places, -np.inf))
    behind = np.minimum.accumulate(np.where(marked, places, np.inf)[::-1])[::-1]
    return np.minimum(places - before, behind - places)


def _runs(values: NDArray[np.bool_]) -> list[tuple[bool, int, int]]:
    """Return (value, start, stop) of the runs of equal values."""
    runs: list[tuple[bool, int, int]] = []
    for value, items in groupby(values.tolist()):
        start = runs[-1][2] if runs else 0
        runs.append((value, start, start + sum(1 for _ in items)))
    return runs
