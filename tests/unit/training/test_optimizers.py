"""Muon against the singular value decomposition, AdamW, schedules and EMA against torch and diffusers."""

import pytest
import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn

from latentsync.errors import ConfigError
from latentsync.training.optimizers import (
    Muon,
    WeightAverage,
    build_optimizer,
    build_schedule,
    learning_rate_factor,
    orthogonalized,
    select_trainable,
)
from latentsync.training.trainer_config import OptimizerConfig, ScheduleConfig
from tests.unit.models.tiny_unet import tiny_config, tiny_unet


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


def test_rate_factors_of_named_weights() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Linear(2, 2))
    config = OptimizerConfig("muon", plain_names=["0."], rate_factors={"1.weight": 0.1, "1.": 0.5, "2.": 2.0})
    groups = build_optimizer(model, config).param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}
    assert rates == pytest.approx(
        {
            "0.weight": 1e-4, "0.bias": 1e-4, "1.weight": 1e-3, "1.bias": 0.5e-4, "2.weight": 0.02, "2.bias": 2e-4,
        }
    )  # fmt: skip


def test_rate_factors_of_unknown_weights_are_refused() -> None:
    config = OptimizerConfig(rate_factors={"attn2.": 0.1})
    with pytest.raises(ConfigError, match=r"rate_factors: no parameter name contains 'attn2\.'"):
        build_optimizer(nn.Linear(2, 2), config)


def rates(schedule: torch.optim.lr_scheduler.LambdaLR, num_steps: int) -> list[float]:
    values = []
    for _ in range(num_steps):
        values.append(schedule.get_last_lr()[0])
        schedule.optimizer.step()
        schedule.step()
    return values


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_falls_as_in_diffusers(name: str) -> None:
    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)

    own = rates(build_schedule(optimizer(), ScheduleConfig(name, warmup_steps=5), 40), 40)
    reference = {"constant": "constant_with_warmup"}.get(name, name)
    theirs = rates(get_scheduler(reference, optimizer(), num_warmup_steps=5, num_training_steps=40), 40)
    assert own[5:] == pytest.approx(theirs[5:])


def test_no_step_of_the_warm_up_is_lost() -> None:
    config = ScheduleConfig("cosine", warmup_steps=4)
    assert [learning_rate_factor(step, config, 20) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_ends_at_the_floor(name: str) -> None:
    config = ScheduleConfig(name, floor=0.1)
    values = [learning_rate_factor(step, config, 10) for step in range(13)]
    assert values[10:] == pytest.approx([0.1] * 3)
    assert values == sorted(values, reverse=True)


def test_the_decay_follows_the_used_time_if_it_is_ahead() -> None:
    config = ScheduleConfig("linear", warmup_steps=4, floor=0.1)
    assert learning_rate_factor(20, config, 36, used_time=0.75) == pytest.approx(0.1 + 0.9 * 0.25)
    assert learning_rate_factor(20, config, 36, used_time=0.25) == learning_rate_factor(20, config, 36)
    assert learning_rate_factor(0, config, 36, used_time=1) == pytest.approx(0.1), "also in the warm-up"


def trained_names(unet) -> list[str]:
    return [name for name, parameter in unet.named_parameters() if parameter.requires_grad]


def test_without_parts_everything_trains():
    unet = tiny_unet().requires_grad_(False)
    assert select_trainable(unet, []) == sum(parameter.numel() for parameter in unet.parameters())
    assert len(trained_names(unet)) == len(list(unet.parameters()))


def test_stage_2_trains_motion_modules_and_attentions_only():
    unet = tiny_unet()
    num_trainable = select_trainable(unet, ["motion_modules.", "attentions."])
    names = trained_names(unet)
    assert any("motion_modules." in name for name in names)
    assert any("attentions." in name for name in names)
    assert not any("resnets." in name or name.startswith("conv_") for name in names)
    assert num_trainable == sum(p.numel() for p in unet.parameters() if p.requires_grad)


def test_a_part_of_no_name_is_refused():
    unet = tiny_unet()
    assert tiny_config().use_motion_module
    with pytest.raises(ConfigError, match=r"no parameter name contains 'motion_module_s'"):
        select_trainable(unet, ["motion_module_s"])


def test_is_diffusers_average() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    own, theirs = WeightAverage(model, 0.6), EMAModel(model.parameters(), decay=0.6)
    for _ in range(30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn_like(parameter)
        own.update()
        theirs.step(model.parameters())
    with own.applied():
        for parameter, expected in zip(model.parameters(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(parameter.data, expected)


def test_the_model_gets_its_own_weights_back() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    average = WeightAverage(model, 0.9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.weight += 1
    with average.applied():
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model.weight, before["weight"] + 1)


def test_continues_from_its_state() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    average.update()
    average.update()
    other_model = nn.Linear(2, 2)
    other = WeightAverage(other_model, 0.9)
    other.load_state_dict(average.state_dict())
    assert other.num_updates == 2
    with other.applied():
        assert torch.equal(other_model.weight, model.weight)
