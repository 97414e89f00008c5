"""The count of a training step's memory on the meta device, against what torch's allocator reports."""

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from latentsync.training.activation_memory import FusedAttention, recompute_with_fused_attention, step_bytes
from tests.unit.models.tiny_unet import tiny_inputs, tiny_unet


def test_a_chain_of_layers_by_hand():
    """The peak has the results of two layers, and in the backward pass the gradients of two."""
    layers = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(4))).requires_grad_(False)
    x = torch.zeros(1000, 64, requires_grad=True)
    peak = step_bytes([x, *layers.parameters()], lambda: layers(x).sum())
    assert 2 * x.nbytes <= peak < 2 * x.nbytes + 100, "views of the weights are not counted, nor are they themselves"


@pytest.mark.parametrize("is_recomputed", [False, True])
def test_it_predicts_the_allocations_of_a_real_step(is_recomputed: bool):
    counted = counted_bytes("meta", is_recomputed)
    assert counted == pytest.approx(counted_bytes("cpu", is_recomputed), rel=0.05)
    assert counted == pytest.approx(allocated_bytes(is_recomputed), rel=0.1)


def test_recomputing_saves_memory():
    assert counted_bytes("meta", True) < 0.7 * counted_bytes("meta", False)


def network_and_inputs(device: str, is_recomputed: bool) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    unet = nn.Module.to(tiny_unet(layers_per_block=2), device=device)
    if is_recomputed:
        unet.enable_gradient_checkpointing(recompute_with_fused_attention)
    sample, audio = (value.to(device) for value in tiny_inputs(size=32))
    for weight in unet.parameters():
        weight.grad = torch.zeros_like(weight)
    return unet.train(), (sample, torch.zeros(2, dtype=torch.long, device=device), audio)


def tensors(network: nn.Module) -> Iterator[torch.Tensor]:
    for weight in network.parameters():
        yield weight
        assert weight.grad is not None
        yield weight.grad
    yield from network.buffers()


def counted_bytes(device: str, is_recomputed: bool) -> int:
    network, inputs = network_and_inputs(device, is_recomputed)
    return step_bytes([*tensors(network), *inputs], lambda: network(*inputs).square().mean())


def allocated_bytes(is_recomputed: bool) -> int:
    """Return the peak of the CPU allocator above its state before the step, from the profiler's events."""
    network, inputs = network_and_inputs("cpu", is_recomputed)
    gc.collect()  # a mapped file of weights that another test left behind would be subtracted when it is closed
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, FusedAttention():
        network(*inputs).square().mean().backward()
    live = peak = 0
    for event in sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak
