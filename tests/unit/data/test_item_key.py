"""Items are functions of (seed, key)."""

import numpy as np

from latentsync.data.item_key import ItemKey, item_generator, item_seed


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
