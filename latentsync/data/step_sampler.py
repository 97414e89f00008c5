"""Which items each training step sees: slices of one endless stream that is shuffled anew every epoch.

The stream holds every item once per epoch and goes on over the epochs without dropping any, so the global batch k is a
function of (seed, k, global batch size) alone: two ranks with batches of 4 see what one rank with batches of 8 sees,
and a run that begins at batch k sees what an uninterrupted run would have seen from there.
"""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from latentsync.data.item_key import ItemKey

_SHUFFLE_STREAM = 2


class StepSampler(Sampler[list[ItemKey]]):
    """A batch sampler: yields this rank's share of global batches start_batch ... start_batch + num_batches - 1.

    Hand it to a DataLoader as `batch_sampler`. It already knows the ranks: nothing else may split it again.

    Attributes:
        num_items: items of one epoch; fewer than a batch is fine, the batch then spans epochs.
        batch_size: items of one batch of one rank.
        world_size: number of ranks; the global batch holds batch_size x world_size items.
        rank: this rank, 0 ... world_size - 1.
        seed: of the shuffles.
        start_batch: the first batch (its number since the beginning of training).
        num_batches: how many batches to yield.
    """

    def __init__(
        self,
        num_items: int,
        batch_size: int,
        world_size: int = 1,
        rank: int = 0,
        seed: int = 0,
        start_batch: int = 0,
        *,
        num_batches: int,
    ) -> None:
        if min(num_items, batch_size, world_size) < 1 or min(start_batch, num_batches, seed) < 0:
            raise ValueError("items, batch size and world size are at least 1; start, number and seed at least 0")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not one of {world_size}")
        self.num_items, self.batch_size, self.world_size, self.rank = num_items, batch_size, world_size, rank
        self.seed, self.start_batch, self.num_batches = seed, start_batch, num_batches

    def __iter__(self) -> Iterator[list[ItemKey]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for batch in range(self.start_batch, self.start_batch + self.num_batches):
            first = (batch * self.world_size + self.rank) * self.batch_size
            keys = []
            for position in range(first, first + self.batch_size):
                if position // self.num_items != epoch:
                    epoch = position // self.num_items
                    order = epoch_order(self.num_items, self.seed, epoch)
                keys.append(ItemKey(int(order[position % self.num_items]), epoch))
            yield keys

    def __len__(self) -> int:
        return self.num_batches


def epoch_order(num_items: int, seed: int, epoch: int) -> np.ndarray:
    """The order (num_items,) in which an epoch visits the items."""
    return np.random.default_rng([seed, _SHUFFLE_STREAM, epoch]).permutation(num_items)
