"""Find the moments of recorded speech whose mouth looks like that of a video, as contiguous as possible."""

import numpy as np
from numpy.typing import NDArray

Mouths = NDArray[np.float32]
"""Opening and width (n, 2) of a mouth over time."""

JUMP_COST = 0.01
"""Cost of a jump in the speech, in squares of the opening's difference."""

_WIDTH_WEIGHT = 0.3
"""Weight of the width beside the opening, which determines more of the mouth's look."""


def match_mouths(
    footage: Mouths,
    speech: Mouths,
    is_start: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    jump_cost: float = JUMP_COST,
) -> NDArray[np.int64]:
    """Return the moment of the speech for every frame of a video.

    Dynamic programming over the frames minimizes the differences between the mouths, plus `jump_cost` for every two
    frames that are not two successive moments of one recording.

    Args:
        footage: (f, 2) mouth of the video's frames.
        speech: (n, 2) mouth predicted from the speech, at the same rate.
        is_start: (n,) True where a recording starts.
        allowed: (n,) moments that may be used, at least one.
        jump_cost: see above.

    Returns:
        (f,) indices in [0, n).
    """
    forbidden = np.where(allowed, 0.0, np.inf)
    moments = np.arange(len(speech))
    came_from = np.zeros((len(footage), len(speech)), dtype=np.int64)
    total = _differences(footage[0], speech) + forbidden
    for frame in range(1, len(footage)):
        best = int(total.argmin())
        continued = np.where(is_start, np.inf, np.roll(total, 1))
        jumped = total[best] + jump_cost
        came_from[frame] = np.where(continued <= jumped, moments - 1, best)
        total = np.minimum(continued, jumped) + _differences(footage[frame], speech) + forbidden
    path = np.empty(len(footage), dtype=np.int64)
    path[-1] = total.argmin()
    for frame in range(len(footage) - 1, 0, -1):
        path[frame - 1] = came_from[frame, path[frame]]
    return path


def _differences(mouth: NDArray[np.float32], speech: Mouths) -> NDArray[np.float64]:
    """Return the weighted squared differences (n,) between one mouth and those of the speech."""
    opening, width = ((speech - mouth).astype(np.float64) ** 2).T
    return opening + _WIDTH_WEIGHT * width


def to_range(footage: Mouths, all_footage: Mouths, speech: Mouths) -> Mouths:
    """Map mouths (f, 2) so that those of the whole footage have the distribution of those of the speech.

    The reader of mouths was trained on synthetic people. Of a real one it reads the order of the openings well, but not
    their size: without this, the widest mouth of a person would be paired with speech of a half open one.

    Args:
        footage: (f, 2) to map.
        all_footage: (m, 2) of the whole footage.
        speech: (n, 2) of the speech.
    """
    shares = np.linspace(0.0, 100.0, 41)
    columns = [
        np.interp(footage[:, k], np.percentile(all_footage[:, k], shares), np.percentile(speech[:, k], shares))
        for k in range(footage.shape[1])
    ]
    return np.stack(columns, axis=1).astype(np.float32)
