"""Sizes and memory are estimated without allocating memory."""

import torch
from torch import nn

from latentsync.training.dry_run import describe_run, estimate_memory, model_size
from latentsync.training.trainer_config import OptimizerConfig, TrainerConfig

GIB = 1024**3


class Large(nn.Module):
    """Two matrices of 2^28 weights, one frozen, a vector of 2^14, and a buffer of 7."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(2**14, 2**14, bias=False).requires_grad_(False)
        self.trained = nn.Linear(2**14, 2**14)
        self.register_buffer("table", torch.zeros(7))


def test_sizes() -> None:
    with torch.device("meta"):
        size = model_size(Large())
    assert (size.num_parameters, size.num_trainable) == (2**29 + 2**14, 2**28 + 2**14)
    assert (size.num_state_values, size.num_state_tensors) == (2**29 + 2**14 + 7, 4)


def test_memory() -> None:
    with torch.device("meta"):
        model = Large()
    adamw = estimate_memory(model, TrainerConfig(ema_decay=0.9), "bf16")
    small = 4 * 2**14
    assert adamw.weights == 2 * GIB + small + 28
    assert adamw.gradients == adamw.average == GIB + small
    assert adamw.optimizer == 2 * (GIB + small)
    assert adamw.casts == GIB // 2
    assert adamw.total == sum(vars(adamw).values())
    muon = estimate_memory(model, TrainerConfig(optimizer=OptimizerConfig("muon")), "no")
    assert (muon.optimizer, muon.average, muon.casts) == (GIB + 2 * small, 0, 0)


def test_the_text() -> None:
    with torch.device("meta"):
        model = Large()
    text = describe_run({"model": {"width": 3}}, model, TrainerConfig(mixed_precision="no", device="cpu"))
    assert "model:\n  width: 3" in text
    assert "parameters: 536.9 M (536,887,296) in total, 268.5 M (268,451,840) train (50.0 %)" in text
    assert "state dict: 536.9 M (536,887,303) in 4 entries" in text
    assert "5.00 GiB (weights 2.00, gradients 1.00, optimizer 2.00)" in text
