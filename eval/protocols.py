"""The two ways a lip-sync model is examined: its own sound given back to a video, or another video's."""

import numpy as np

from latentsync.errors import InputError

RECONSTRUCTION = "reconstruction"
"""Every video gets its own sound; the video itself is the ground truth."""

CROSS_AUDIO = "cross_audio"
"""Every video gets another one's sound, as when dubbing; a ground truth exists only for rendered people."""

PROTOCOLS = (RECONSTRUCTION, CROSS_AUDIO)


def derangement(count: int, seed: int) -> list[int]:
    """A random order of 0 ... count-1 in which nothing stays in its place, all such orders being equally likely.

    Raises:
        InputError: there are fewer than two, so that something must stay.
    """
    if count < 2:
        raise InputError(f"{count} video cannot get another one's sound: list two at least, or use {RECONSTRUCTION}")
    rng = np.random.default_rng(seed)
    while True:  # one order in e is a derangement
        order = rng.permutation(count)
        if not np.any(order == np.arange(count)):
            return order.tolist()
