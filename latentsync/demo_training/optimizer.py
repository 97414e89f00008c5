"""Optimizers for short trainings: Muon for the weight matrices, AdamW for the rest; a learning-rate curve; an EMA."""

import math
from collections.abc import Iterable

import torch
from torch import nn

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrix: torch.Tensor, num_steps: int = 5) -> torch.Tensor:
    """Nearest semi-orthogonal matrix of `matrix` (rows, columns), roughly: singular values end in about [0.7, 1.2].

    Newton-Schulz iteration with the quintic of Jordan et al., "Muon: an optimizer for hidden layers" (2024).
    """
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalized; takes tensors of two or more dimensions (flattened after the first)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step on the gradients at hand."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
                momentum.lerp_(param.grad, 1 - group["momentum"])
                direction = param.grad.lerp(momentum, group["momentum"]).reshape(param.shape[0], -1)
                update = orthogonalized(direction) * max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update.reshape(param.shape), alpha=-group["lr"])


def build_optimizers(
    model: nn.Module, lr: float, matrix_lr: float, weight_decay: float = 0.0, plain_names: tuple[str, ...] = ()
) -> list[torch.optim.Optimizer]:
    """Muon at `matrix_lr` for inner weights; AdamW at `lr` for vectors, and for names starting with `plain_names`."""
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    matrices = [param for name, param in named if param.ndim >= 2 and not name.startswith(plain_names)]
    others = [param for name, param in named if param.ndim < 2 or name.startswith(plain_names)]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0)]
    if matrices:
        optimizers.append(Muon(matrices, lr=matrix_lr, weight_decay=weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def lr_factor(fraction: float, warm_up: float = 0.03, floor: float = 0.02) -> float:
    """Share of the peak rate at `fraction` [0, 1] of the training: linear warm-up, then cosine to `floor`."""
    if fraction < warm_up:
        return max(fraction / warm_up, 0.02)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min((fraction - warm_up) / (1 - warm_up), 1.0)))


class WeightAverage:
    """Exponential moving average of a model's floating-point state."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.num_updates = 0
        self.state = {name: value.detach().clone().float() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes the model's weights in; early on the average is shorter, so that the start is forgotten."""
        self.num_updates += 1
        decay = min(self.decay, self.num_updates / (self.num_updates + 10))
        for name, value in model.state_dict().items():
            self.state[name].lerp_(value.float(), 1 - decay)
