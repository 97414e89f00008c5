"""Names one training item; everything random about the item follows from its name and the run's seed."""

from typing import NamedTuple

import numpy as np

_SEED_BITS = 63
_WINDOW_STREAM, _SEED_STREAM = 0, 1


class ItemKey(NamedTuple):
    """Clip number `index` on its visit in epoch `epoch` (both from 0)."""

    index: int
    epoch: int


def item_generator(seed: int, key: ItemKey) -> np.random.Generator:
    """The source of all random choices of an item: the same for the same (seed, key), anywhere and in any order."""
    return np.random.default_rng([seed, _WINDOW_STREAM, key.epoch, key.index])


def item_seed(seed: int, key: ItemKey) -> int:
    """A number in [0, 2**63) for what the training step draws per item (noise, timestep, dropout).

    Independent of `item_generator`'s stream.
    """
    state = np.random.SeedSequence([seed, _SEED_STREAM, key.epoch, key.index]).generate_state(1, np.uint64)
    return int(state[0]) >> (64 - _SEED_BITS)
