"""Items become batches."""

import numpy as np
import pytest
import torch

from latentsync.data.collate import collate


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
