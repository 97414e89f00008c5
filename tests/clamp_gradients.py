"""Replace the gradient of torch's `clamp` at its bounds."""

import math

import pytest
import torch


class _ZeroAtBounds(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: torch.Tensor, lowest: float, highest: float) -> torch.Tensor:
        ctx.save_for_backward((values > lowest) & (values < highest))
        return torch.clip(values, lowest, highest)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def clamp_without_gradient_at_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the gradient of `Tensor.clamp` to 0 where a value equals a bound, as in torch 2.15; 2.13 gives 1 there."""
    installed = torch.Tensor.clamp

    def clamp(values: torch.Tensor, min: float | None = None, max: float | None = None) -> torch.Tensor:
        if not values.requires_grad:
            return installed(values, min, max)
        lowest, highest = -math.inf if min is None else min, math.inf if max is None else max
        return _ZeroAtBounds.apply(values, lowest, highest)  # type: ignore[return-value]

    monkeypatch.setattr(torch.Tensor, "clamp", clamp)
