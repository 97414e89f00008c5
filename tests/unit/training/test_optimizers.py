"""Muon against the singular value decomposition, its AdamW half against torch's, and who gets which."""

import pytest
import torch
from torch import nn

from latentsync.training.optimizers import Muon, build_optimizer, orthogonalized
from latentsync.training.trainer_config import OptimizerConfig


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_orthogonalized_keeps_directions_and_evens_out_lengths(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalized(matrix)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.diagonal(u.mT @ result @ v.mT)
    assert values.min() > 0.4
    assert values.max() < 1.3
    torch.testing.assert_close(result, u @ torch.diag(values) @ v, atol=1e-4, rtol=0)


def test_muon_finds_the_minimum_of_a_quadratic() -> None:
    target = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    weight = nn.Parameter(torch.zeros_like(target))
    optimizer = Muon([{"params": [weight], "use_muon": True}], lr=0.05)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
        (weight - target).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert (weight - target).abs().max() < 0.05


def test_the_other_groups_are_torchs_adamw() -> None:
    weights = [nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.3}
    optimizers = [Muon([{"params": [weights[0]]}], **settings), torch.optim.AdamW([weights[1]], **settings)]
    for step in range(5):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            optimizer.zero_grad()
            (weight - step).pow(4).sum().backward()
            optimizer.step()
    assert torch.equal(weights[0], weights[1])


def test_muon_continues_from_its_state() -> None:
    def model_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(3, 4)
        return model, build_optimizer(model, OptimizerConfig("muon"))

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int) -> None:
        for _ in range(num_steps):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()

    whole, parted = model_and_optimizer(), model_and_optimizer()
    train(*whole, 4)
    train(*parted, 2)
    weights, state = parted[0].state_dict(), parted[1].state_dict()
    model, optimizer = model_and_optimizer()
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    train(model, optimizer, 2)
    assert torch.equal(model.get_parameter("weight"), whole[0].get_parameter("weight"))
    assert torch.equal(model.get_parameter("bias"), whole[0].get_parameter("bias"))


def test_decay_vectors_is_torchs_adamw_on_all_weights() -> None:
    models = []
    for build in (
        lambda model: build_optimizer(model, OptimizerConfig(lr=0.1, weight_decay=0.3, decay_vectors=True)),
        lambda model: torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.3),
        lambda model: build_optimizer(model, OptimizerConfig(lr=0.1, weight_decay=0.3)),
    ):
        torch.manual_seed(0)
        model = nn.Linear(3, 4)
        optimizer = build(model)
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        models.append(model)
    published, torchs, default = models
    assert torch.equal(published.weight, torchs.weight)
    assert torch.equal(published.bias, torchs.bias)
    assert torch.equal(default.weight, torchs.weight)
    assert not torch.equal(default.bias, torchs.bias)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OptimizerConfig(), [(3, 1e-4, 0.0), (3, 1e-4, 0.01)]),
        (OptimizerConfig(decay_vectors=True), [(3, 1e-4, 0.01), (3, 1e-4, 0.01)]),
        (OptimizerConfig("muon", plain_names=["0."]), [(3, 1e-4, 0.0), (1, 1e-4, 0.01), (2, 0.01, 0.01)]),
    ],
)
def test_groups(config: OptimizerConfig, expected: list[tuple[int, float, float]]) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Linear(2, 2), nn.Linear(2, 2))
    model[3].requires_grad_(False)
    groups = build_optimizer(model, config).param_groups
    assert [(len(group["params"]), group["lr"], group["weight_decay"]) for group in groups] == expected
    assert [group.get("use_muon", False) for group in groups] == [False, False, True][: len(groups)]
