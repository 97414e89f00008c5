"""Keys of training items, the sampler that draws batches of keys, and the function that collates items.

The sampler's stream holds every item once per epoch and continues over the epochs without dropping any, so the global
batch k is a function of (seed, k, global batch size) alone: two ranks with batches of 4 get the items that one rank
gets with batches of 8, and a run resumed at batch k gets the items of an uninterrupted run.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

_SEED_BITS = 63
_ITEM_STREAM, _SEED_STREAM, _SHUFFLE_STREAM = 0, 1, 2
"""Second entry of the seed sequences, so that their random streams are independent."""


class ItemKey(NamedTuple):
    """Key of an item: clip number `index` in epoch `epoch`, both from 0.

    All random choices of an item follow from its key and the seed of the run.
    """

    index: int
    epoch: int


def item_generator(seed: int, key: ItemKey) -> np.random.Generator:
    """Return the random generator of an item: equal for equal (seed, key), in any process and order."""
    return np.random.default_rng([seed, _ITEM_STREAM, key.epoch, key.index])


def item_seed(seed: int, key: ItemKey) -> int:
    """Return the seed in [0, 2**63) of what the training step draws per item (noise, timestep, dropout).

    Its random stream is independent of `item_generator`'s.
    """
    state = np.random.SeedSequence([seed, _SEED_STREAM, key.epoch, key.index]).generate_state(1, np.uint64)
    return int(state[0]) >> (64 - _SEED_BITS)


def epoch_order(num_items: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order (num_items,) of the items in an epoch."""
    return np.random.default_rng([seed, _SHUFFLE_STREAM, epoch]).permutation(num_items)


class StepSampler(Sampler[list[ItemKey]]):
    """Batch sampler: yields this rank's share of global batches start_batch ... start_batch + num_batches - 1.

    Pass it to a DataLoader as `batch_sampler`. It splits batches over the ranks; do not wrap it in a distributed
    sampler.

    Attributes:
        num_items: items of one epoch; may be fewer than a batch, which then spans epochs.
        batch_size: items of one batch of one rank.
        world_size: number of ranks; the global batch holds batch_size x world_size items.
        rank: this rank, 0 ... world_size - 1.
        seed: of the shuffles.
        start_batch: the first batch, counted since the beginning of training.
        num_batches: number of batches to yield.
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


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack the items' values by name: arrays and tensors to (b, ...), ints to a LongTensor (b,), strings to a list."""
    return {name: _stack([item[name] for item in items]) for name in items[0]}


def _stack(values: list[Any]) -> torch.Tensor | list[str]:
    first = values[0]
    if isinstance(first, str):
        return values
    if isinstance(first, torch.Tensor):
        return torch.stack(values)
    if isinstance(first, np.ndarray):
        return torch.from_numpy(np.stack(values))
    if isinstance(first, int):
        return torch.tensor(values, dtype=torch.int64)
    raise TypeError(f"cannot collate values of type {type(first).__name__}")
