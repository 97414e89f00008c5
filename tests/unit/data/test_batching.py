"""Keys, batches and collation of training items."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from latentsync.data.batching import ItemKey, StepSampler, collate, item_generator, item_seed


def test_a_generator_depends_on_seed_index_and_epoch_alone() -> None:
    def draw(seed: int, index: int, epoch: int) -> int:
        return int(item_generator(seed, ItemKey(index, epoch)).integers(2**62))

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert len({draw(1, 2, 3), draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(1, 3, 2)}) == 5


def test_item_seeds_are_distinct_and_fit_a_signed_64_bit_number() -> None:
    seeds = {item_seed(seed, ItemKey(i, e)) for seed in range(3) for i in range(20) for e in range(20)}
    assert len(seeds) == 1200
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63
    assert item_seed(5, ItemKey(1, 2)) == item_seed(5, ItemKey(1, 2))


def test_an_items_seed_is_not_what_its_generator_draws() -> None:
    key = ItemKey(4, 5)
    assert item_seed(0, key) != int(item_generator(0, key).integers(2**63, dtype=np.uint64))


def keys(sampler: StepSampler) -> list[ItemKey]:
    return [key for batch in sampler for key in batch]


@pytest.mark.parametrize(("num_items", "batch_size", "world_size"), [(10, 4, 2), (3, 4, 2), (7, 1, 3), (1, 2, 2)])
def test_the_ranks_together_get_the_items_of_one_process_in_order(
    num_items: int, batch_size: int, world_size: int
) -> None:
    alone = list(StepSampler(num_items, batch_size * world_size, seed=3, num_batches=9))
    ranks = [StepSampler(num_items, batch_size, world_size, rank, 3, num_batches=9) for rank in range(world_size)]
    together = [[key for share in shares for key in share] for shares in zip(*ranks, strict=True)]
    assert together == alone


@pytest.mark.parametrize("start", [0, 1, 4, 8])
def test_a_resumed_run_gets_the_rest(start: int) -> None:
    whole = list(StepSampler(5, 3, 2, 1, seed=1, num_batches=9))
    rest = StepSampler(5, 3, 2, 1, seed=1, start_batch=start, num_batches=9 - start)
    assert list(rest) == whole[start:]
    assert len(rest) == 9 - start


def test_every_epoch_visits_every_item_once_and_nothing_is_dropped() -> None:
    seen = keys(StepSampler(7, 4, seed=0, num_batches=14))
    assert Counter(seen) == Counter(ItemKey(index, epoch) for epoch in range(8) for index in range(7))
    assert [key.epoch for key in seen] == sorted(key.epoch for key in seen)


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    def epoch_order(seed: int, epoch: int) -> list[int]:
        return [key.index for key in keys(StepSampler(50, 50, seed=seed, start_batch=epoch, num_batches=1))]

    assert epoch_order(0, 0) != list(range(50))
    assert epoch_order(0, 0) != epoch_order(0, 1)
    assert epoch_order(0, 0) != epoch_order(1, 0)
    assert epoch_order(0, 1) == epoch_order(0, 1)


def test_iterating_twice_gives_the_same() -> None:
    sampler = StepSampler(5, 2, seed=2, num_batches=6)
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize(
    "wrong", [{"num_items": 0}, {"batch_size": 0}, {"rank": 2, "world_size": 2}, {"rank": -1}, {"start_batch": -1}]
)
def test_impossible_arguments_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least|is not one of"):
        StepSampler(**({"num_items": 4, "batch_size": 2, "num_batches": 1} | wrong))


class Echo(Dataset):
    def __getitem__(self, key: ItemKey) -> ItemKey:
        assert isinstance(key, ItemKey)
        return key


def test_a_loader_with_workers_keeps_the_order() -> None:
    sampler = StepSampler(9, 4, seed=0, num_batches=5)
    loader = DataLoader(Echo(), batch_sampler=sampler, num_workers=2, collate_fn=list)
    assert list(loader) == list(sampler)


def test_arrays_and_tensors_are_stacked_numbers_become_long_and_words_stay() -> None:
    items = [
        {"a": np.full((2, 3), i, np.float32), "t": torch.full((4,), float(i)), "seed": 2**63 - 1 - i, "clip": f"c{i}"}
        for i in range(3)
    ]
    batch = collate(items)
    assert batch["a"].shape == (3, 2, 3)
    assert batch["a"].dtype == torch.float32
    assert batch["a"][:, 0, 0].tolist() == [0, 1, 2]
    assert batch["t"].shape == (3, 4)
    assert batch["seed"].dtype == torch.int64
    assert batch["seed"].tolist() == [2**63 - 1, 2**63 - 2, 2**63 - 3]
    assert batch["clip"] == ["c0", "c1", "c2"]


def test_what_cannot_be_stacked_is_named() -> None:
    with pytest.raises(TypeError, match="dict"):
        collate([{"x": {}}])
