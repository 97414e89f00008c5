"""The average of the weights against diffusers' EMAModel."""

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from latentsync.training.weight_average import WeightAverage


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
