"""Cross-entropies keep their gradient at the ends of [0, 1] and beyond, whatever gradient `clamp` has there."""

import pytest
import torch
from torch import nn

from latentsync.losses.loss_stack import Prediction
from latentsync.losses.sync_loss import SyncLoss, clamp_keep_gradient
from latentsync.models.syncnet_input import SyncNetInput
from latentsync.training.syncnet_step import cross_entropy
from tests.clamp_gradients import clamp_without_gradient_at_bounds

ENDS = (-1e-3, -1e-7, 0.0, 0.3, 1.0, 1 + 1e-6, 1.004)
MARGIN = 1e-4


@pytest.fixture(params=["clamp as installed", "clamp without gradient at its bounds"], autouse=True)
def _clamp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "clamp as installed":
        clamp_without_gradient_at_bounds(monkeypatch)
        one = torch.ones(1, requires_grad=True)
        one.clamp(0, 1).backward()
        assert one.grad == 0


def test_values_inside_are_unchanged_and_the_gradient_is_one() -> None:
    values = torch.tensor(ENDS, requires_grad=True)
    clamped = clamp_keep_gradient(values, 0, 1)
    clamped.sum().backward()
    assert clamped.tolist() == pytest.approx([0, 0, 0, 0.3, 1, 1, 1], abs=1e-7)
    assert clamped[3] == values[3]
    assert values.grad is not None
    assert values.grad.tolist() == [1.0] * len(ENDS)


@pytest.mark.parametrize("end", ENDS)
def test_both_kinds_of_pairs_have_the_gradient_of_the_logarithm(end: float) -> None:
    inside = min(max(end, 0.0), 1.0)
    share = MARGIN + (1 - 2 * MARGIN) * inside
    positive, negative = (torch.tensor([end], requires_grad=True) for _ in range(2))
    cross_entropy(positive, negative, negative_weight=0.25).backward()
    assert positive.grad is not None
    assert negative.grad is not None
    assert positive.grad.item() == pytest.approx(-0.75 * (1 - 2 * MARGIN) / share, rel=2e-3)
    assert negative.grad.item() == pytest.approx(0.25 * (1 - 2 * MARGIN) / (1 - share), rel=2e-3)


class Given(nn.Module):
    """Stand-in for the SyncNet: embeds frames as their own values, and all audio as (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = nn.Module()
        self.audio_encoder.conv_in = nn.Conv2d(1, 1, 1)

    def forward(self, frames: torch.Tensor, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return frames.flatten(1), torch.tensor([[0.0, 1.0]])


def test_a_window_that_does_not_match_at_all_is_pulled_to_its_sound() -> None:
    clean = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1, 1).requires_grad_()
    loss = SyncLoss(1, Given(), SyncNetInput(1, 1, latent_space=True, lower_half=False))  # type: ignore[arg-type]
    nothing = torch.zeros(1)
    value = loss(Prediction(nothing, nothing, nothing, clean, mel=torch.zeros(1, 1, 80, 52)))
    value.backward()
    assert value.item() == pytest.approx(-torch.tensor(MARGIN).log().item(), rel=1e-4)
    assert clean.grad is not None
    assert clean.grad.flatten().tolist() == pytest.approx([0, -1 / (2 * MARGIN)], rel=1e-3)
