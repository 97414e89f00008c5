"""Optimizers (AdamW; Muon for matrices), learning rate schedule, trainable parameters, average of the weights."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw
from torch.optim.lr_scheduler import LambdaLR

from latentsync.errors import ConfigError
from latentsync.training.trainer_config import OptimizerConfig, ScheduleConfig

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrix: torch.Tensor, num_steps: int = 5) -> torch.Tensor:
    """Return about the nearest semi-orthogonal matrix (rows, columns): singular values end in about [0.7, 1.2].

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
    """Muon for groups with "use_muon", AdamW for the others, in one object with one state and one schedule.

    Muon orthogonalizes the momentum of tensors of two or more dimensions, flattened after the first.

    Args:
        groups: parameter groups, each with a "use_muon" key.
        lr: learning rate of groups without their own.
        betas: decay rates of AdamW.
        eps: epsilon of AdamW.
        momentum: momentum of Muon.
        weight_decay: decoupled weight decay of groups without their own.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(groups, {**defaults, "use_muon": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Do one optimizer step."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["use_muon"]:
                for parameter in parameters:
                    self._step_matrix(parameter, group)
            elif parameters:
                self._step_adamw(parameters, group)

    def _step_matrix(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        momentum.lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(momentum, group["momentum"]).reshape(parameter.shape[0], -1)
        update = orthogonalized(direction) * max(1.0, direction.shape[0] / direction.shape[1]) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"])

    def _step_adamw(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["step"] = torch.tensor(0.0)
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
                self.state[parameter]["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build the configured optimizer for the trainable parameters.

    Weight decay applies to tensors of two or more dimensions, and to biases and norms only with `decay_vectors`.

    Raises:
        ConfigError: a part of `rate_factors` is in no parameter name.
    """
    settings: dict[str, dict[str, Any]] = {
        "vectors": {"lr": config.lr, "weight_decay": config.weight_decay if config.decay_vectors else 0.0},
        "plain": {"lr": config.lr},
        "matrices": {"lr": config.matrix_lr, "use_muon": True},
    }
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    _check_parts("training.optimizer.rate_factors", config.rate_factors, list(trainable))
    members: dict[tuple[str, float], list[nn.Parameter]] = {}
    for name, parameter in trainable.items():
        key = _kind(name, parameter, config), _rate_factor(name, config)
        members.setdefault(key, []).append(parameter)
    groups = [
        {**settings[kind], "lr": settings[kind]["lr"] * factor, "params": members[kind, factor]}
        for kind, factor in sorted(members, key=lambda key: (list(settings).index(key[0]), -key[1]))
    ]
    betas = (config.betas[0], config.betas[1])
    if config.name == "muon":
        return Muon(groups, config.lr, betas, config.eps, config.momentum, config.weight_decay)
    return torch.optim.AdamW(groups, config.lr, betas, config.eps, config.weight_decay)


def _kind(name: str, parameter: nn.Parameter, config: OptimizerConfig) -> str:
    if parameter.ndim < 2:
        return "vectors"
    is_matrix = config.name == "muon" and not name.startswith(tuple(config.plain_names))
    return "matrices" if is_matrix else "plain"


def _rate_factor(name: str, config: OptimizerConfig) -> float:
    return next((factor for part, factor in config.rate_factors.items() if part in name), 1.0)


def state_names(group: dict[str, Any]) -> set[str]:
    """Return the names of the state that `build_optimizer`'s optimizers have per weight of a group."""
    return {"momentum"} if group.get("use_muon") else {"step", "exp_avg", "exp_avg_sq"}


def learning_rate_factor(step: int, config: ScheduleConfig, max_steps: int, used_time: float = 0.0) -> float:
    """Return the share of the peak rate at `step` (from 0): linear warm-up, then decay to the floor at `max_steps`.

    Step s of w warm-up steps has the share (s + 1) / (w + 1), so that the first step is not lost at rate 0. In a
    training of limited time the decay follows `used_time`, the used share of the time in [0, 1], if that is ahead.
    """
    fraction = max((step - config.warmup_steps) / max(max_steps - config.warmup_steps, 1), used_time)
    fraction = min(fraction, 1.0)
    falls = {"constant": 1.0, "linear": 1 - fraction, "cosine": 0.5 * (1 + math.cos(math.pi * fraction))}
    decayed = config.floor + (1 - config.floor) * falls[config.name]
    return min((step + 1) / (config.warmup_steps + 1), decayed) if step < config.warmup_steps else decayed


def build_schedule(
    optimizer: Optimizer, config: ScheduleConfig, max_steps: int, used_time: Callable[[], float] = lambda: 0.0
) -> LambdaLR:
    """Build the schedule for every group of the optimizer; call its `step` once per optimizer step.

    Args:
        optimizer: its learning rates are the peaks.
        config: of the schedule.
        max_steps: optimizer steps of the training.
        used_time: returns the used share of a limited time.
    """
    return LambdaLR(optimizer, partial(_factor_now, config=config, max_steps=max_steps, used_time=used_time))


def _factor_now(step: int, config: ScheduleConfig, max_steps: int, used_time: Callable[[], float]) -> float:
    return learning_rate_factor(step, config, max_steps, used_time())


def select_trainable(model: nn.Module, parts: Sequence[str]) -> int:
    """Make the parameters trainable whose names contain one of `parts`, all of them if `parts` is empty.

    The published second stage trains "motion_modules." and "attentions.", its efficient variant "motion_modules." and
    "attn2.".

    Returns:
        Number of trainable scalars.

    Raises:
        ConfigError: no name contains one of the parts.
    """
    names = [name for name, _ in model.named_parameters()]
    _check_parts("trainable", parts, names)
    num_trainable = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not parts or any(part in name for part in parts))
        num_trainable += parameter.numel() if parameter.requires_grad else 0
    return num_trainable


def _check_parts(setting: str, parts: Iterable[str], names: Sequence[str]) -> None:
    unknown = [part for part in parts if not any(part in name for name in names)]
    if unknown:
        raise ConfigError(f"{setting}: no parameter name contains {unknown[0]!r}; names look like {names[0]!r}")


class WeightAverage:
    """Exponential moving average of the trainable weights.

    The decay after n updates is min(decay, (1 + n) / (10 + n)), as in diffusers' EMAModel: early averages are short, so
    that the initial weights lose their influence. EMAModel itself is not used: importing it takes seconds, and it does
    not support sharding. Under FSDP every process averages its own shard.

    Args:
        model: the prepared network; its trainable parameters are averaged in their own dtype.
        decay: share of the average that is kept at each step, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._averages = [part.clone() for part in self._local_parts()]

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the average."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates)) if self.num_updates else 0.0
        self.num_updates += 1
        torch._foreach_lerp_(self._averages, self._local_parts(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Return a context in which the network has the averaged weights."""
        kept = [part.clone() for part in self._local_parts()]
        self._write(self._averages)
        try:
            yield
        finally:
            self._write(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the part of this process as plain data."""
        return {"num_updates": self.num_updates, "averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`; the decay stays that of the configuration.

        Raises:
            ValueError: the state belongs to another set of weights.
        """
        self.num_updates = state["num_updates"]
        for average, value in zip(self._averages, state["averages"], strict=True):
            average.copy_(value)

    def _write(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._local_parts(), values)

    def _local_parts(self) -> list[torch.Tensor]:
        """Return each parameter, or the local shard of one that FSDP2 distributes."""
        parts = [parameter.detach() for parameter in self._parameters]
        return [part.to_local() if isinstance(part, DTensor) else part for part in parts]
