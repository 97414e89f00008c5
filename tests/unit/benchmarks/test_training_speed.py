"""The training step that `benchmarks.training_speed` cuts into parts, at a tiny size."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_report.networks import unet_run
from benchmarks.gpu_report.section import SIZES, Setup
from benchmarks.gpu_report.training import random_batch
from benchmarks.training_speed import OPTIMIZER, TotalFlops, build_step, copy_rate, matrix_rates, table_rows
from latentsync.training.training_step import StepContext

SETUP = Setup(SIZES["tiny"], torch.device("cpu"))


def test_the_parts_give_the_gradients_of_the_whole_step():
    changes = ("training.device=cpu", "training.mixed_precision=no", "losses.perceptual.weight=0")  # VGG-16 is not tiny
    run = unet_run(SETUP.sizes, "stage2", 64, changes)
    measured = build_step(SETUP, run)
    model, batch = measured.session.model, random_batch(SETUP, run)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    measured.step(model, batch, StepContext(0, 1)).loss.backward()
    expected = [weight.grad for weight in trained]
    for weight in trained:
        weight.grad = None
    for measured.clock.counts in (True, False):
        measured.gradients(batch)
    for weight, gradient in zip(trained, expected, strict=True):
        assert gradient is not None
        assert weight.grad is not None
        assert torch.allclose(weight.grad, 2 * gradient, atol=1e-5)  # of two passes
    measured.update(run.training.max_grad_norm)

    parts = measured.clock.parts
    assert list(parts) == [
        *("VAE encode", "U-Net", "VAE decode"),
        *(f"{name} loss, both passes" for name in ("epsilon", "sync", "trepa")),
        *("VAE decode, backward", "U-Net, backward", OPTIMIZER),
    ]
    assert all(part.flops > 0 for name, part in parts.items() if name not in ("epsilon loss, both passes", OPTIMIZER))
    assert parts["U-Net, backward"].flops > 2 * parts["U-Net"].flops, "the activations are recomputed"


def test_the_table_has_the_floor_of_every_part():
    measured = build_step(SETUP, unet_run(SETUP.sizes, "stage1", 64, ("training.device=cpu",)))
    assert matrix_rates(SETUP, measured.clock)(torch.bfloat16) > 0
    assert copy_rate(SETUP, measured.clock) > 0
    rows = table_rows({"a": 1.0, "b": 3.0}, {"a": 0.5, "b": 1.0}, {})
    assert [row["of the step"] for row in rows] == ["25.0%", "75.0%", "100.0%"]
    assert rows[-1]["floor, s"] == pytest.approx(1.5)


def test_operations_without_modules_are_those_with_them():
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    totals = []
    for counter in (TotalFlops(), FlopCounterMode(display=False)):
        with counter:
            checkpoint(model, torch.ones(2, 8, requires_grad=True), use_reentrant=False).sum().backward()
        totals.append(counter.get_total_flops())
    assert totals[0] == totals[1] > 0
