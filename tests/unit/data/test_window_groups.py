import numpy as np
import pytest
import torch

from latentsync.data.item_key import ItemKey
from latentsync.data.window_groups import WindowGroups


class Windows:
    """Items that say which key they were made for."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, key: ItemKey) -> dict:
        return {
            "frames": np.full((2, 3, 4, 4), key.epoch, dtype=np.float32),
            "start": 10 * key.epoch,
            "clip": f"clip {key.index}",
            "seed": 2**62 + key.epoch,
        }


def test_a_group_is_the_next_windows_of_one_clip():
    groups = WindowGroups(Windows(), 3)
    assert len(groups) == 7
    item = groups[ItemKey(5, 2)]
    assert item["frames"].shape == (3, 2, 3, 4, 4)
    assert item["frames"][:, 0, 0, 0, 0].tolist() == [6.0, 7.0, 8.0]
    assert torch.equal(item["start"], torch.tensor([60, 70, 80]))
    assert item["clip"] == "clip 5"
    assert item["seed"] == 2**62 + 6


def test_no_window_is_drawn_twice():
    groups = WindowGroups(Windows(), 4)
    starts = [start for epoch in range(5) for start in groups[ItemKey(0, epoch)]["start"].tolist()]
    assert len(set(starts)) == 20


def test_no_windows_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        WindowGroups(Windows(), 0)
