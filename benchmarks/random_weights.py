"""Random weights for networks of any size, faster than their initializers."""

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def random_network(build: Callable[[], M], device: torch.device | str = "cpu", seed: int = 0) -> M:
    """Build a network in eval mode on a device, with weights from `fill_random`.

    Args:
        build: function that builds the network; called on the meta device. Buffers outside its state dict stay
            undefined. device: device of the weights. seed: seed of the weights.
    """
    with torch.device("meta"):
        network = build()
    network.to_empty(device=device)
    return fill_random(network, seed).eval()


def convert(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights in place to a dtype and to channels-last memory, as `load_unet` and `load_vae` do."""
    to = cast(Callable[..., nn.Module], nn.Module.to)  # torch's type stubs lack this combination
    to(network, dtype=dtype, memory_format=torch.channels_last)


@torch.no_grad()
def fill_random(network: M, seed: int = 0) -> M:
    """Overwrite a state dict so that activations stay near unit variance; return the network.

    Tensors of several dimensions are normal with variance 1 / fan-in, scales and variances are 1, all others 0.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            if tensor.device not in generators:
                generators[tensor.device] = torch.Generator(tensor.device).manual_seed(seed)
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generators[tensor.device])
        else:
            is_scale = tensor.is_floating_point() and name.endswith(("weight", "running_var"))
            tensor.fill_(1 if is_scale else 0)
    return network
