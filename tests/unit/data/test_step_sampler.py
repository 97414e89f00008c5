"""Global batches are slices of one stream, whatever the ranks and wherever the run begins."""

from collections import Counter

import pytest
from torch.utils.data import DataLoader, Dataset

from latentsync.data.item_key import ItemKey
from latentsync.data.step_sampler import StepSampler


def keys(sampler: StepSampler) -> list[ItemKey]:
    return [key for batch in sampler for key in batch]


@pytest.mark.parametrize(("num_items", "batch_size", "world_size"), [(10, 4, 2), (3, 4, 2), (7, 1, 3), (1, 2, 2)])
def test_the_ranks_together_see_what_one_process_sees_in_order(
    num_items: int, batch_size: int, world_size: int
) -> None:
    alone = list(StepSampler(num_items, batch_size * world_size, seed=3, num_batches=9))
    ranks = [StepSampler(num_items, batch_size, world_size, rank, 3, num_batches=9) for rank in range(world_size)]
    together = [[key for share in shares for key in share] for shares in zip(*ranks, strict=True)]
    assert together == alone


@pytest.mark.parametrize("start", [0, 1, 4, 8])
def test_a_restarted_run_sees_the_rest(start: int) -> None:
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
