"""Muon against the singular value decomposition, the learning-rate curve, the average."""

import pytest
import torch
from torch import nn

from latentsync.demo_training.optimizer import Muon, WeightAverage, lr_factor, orthogonalized


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_orthogonalized_keeps_directions_and_evens_out_lengths(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalized(matrix)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.diagonal(u.mT @ result @ v.mT)
    assert values.min() > 0.4
    assert values.max() < 1.3
    torch.testing.assert_close(result, u @ torch.diag(values) @ v, atol=1e-4, rtol=0)


def test_muon_finds_the_minimum_of_a_quadratic():
    target = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    weight = nn.Parameter(torch.zeros_like(target))
    optimizer = Muon([weight], lr=0.05)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
        (weight - target).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (weight - target).abs().max() < 0.05


def test_learning_rate_rises_then_falls():
    values = [lr_factor(step / 100) for step in range(101)]
    peak = values.index(max(values))
    assert 1 < peak < 10
    assert values[peak] == pytest.approx(1, abs=0.01)
    assert values[-1] == pytest.approx(0.02, abs=1e-3)


def test_average_follows_the_weights():
    model = nn.Linear(2, 2)
    average = WeightAverage(model, decay=0.5)
    before = model.weight.detach().clone()
    nn.init.constant_(model.weight, 3.0)
    average.update(model)
    decay = 1 / 11
    torch.testing.assert_close(average.state["weight"], decay * before + (1 - decay) * 3.0)
