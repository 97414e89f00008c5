"""The state of the random generators survives a file of plain data."""

import random
from pathlib import Path

import numpy as np
import torch

from latentsync.training.session import random_state, restore_random_state


def draw() -> list[float]:
    return [random.random(), random.gauss(0, 1), float(np.random.standard_normal()), float(torch.randn(()))]


def test_numbers_repeat_after_a_round_trip(tmp_path: Path) -> None:
    device = torch.device("cpu")
    draw()  # leaves half a Gaussian pair in Python's and NumPy's generators
    torch.save(random_state(device), tmp_path / "random.pt")
    expected = draw()
    draw()
    restore_random_state(torch.load(tmp_path / "random.pt", weights_only=True), device)
    assert draw() == expected
