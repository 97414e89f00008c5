"""Faster forms of the U-Net's layers for inference on a CPU: oneDNN's fused linear layers, and chunks.

PyTorch adds the bias of a bfloat16 linear layer in a separate pass over the product; GELU, the gate's product and the
residual are further passes. At the published sizes these passes, and the page faults of results of up to 160 MiB, took
a third of a step (docs/speed.md). oneDNN applies them while it computes the product, and `chunk_ranges` bounds the size
of the results.

The fused forms round less often, so their results differ from the plain ones by rounding. `plain_layers` switches back.
Other devices, training and compilation always use the plain form: the same operations in the same order as without
this module.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from torch import nn

CHUNK_BYTES = 16 << 20
"""Size of the widest intermediate result of a chunk; glibc maps and clears new pages for each block from 32 MiB."""
MIN_BYTES = 512 << 10
"""Size of the smallest input of fused layers; the demo's are smaller, and its step takes 1.1 x the time fused."""
MAX_MATMUL_PIXELS = 64
"""Largest feature map whose 3x3 convolution is faster as a matrix product in bfloat16."""

_plain_layers: ContextVar[bool] = ContextVar("plain_layers", default=False)


@contextmanager
def plain_layers() -> Iterator[None]:
    """Compute all layers in their plain form in this thread."""
    token = _plain_layers.set(True)
    try:
        yield
    finally:
        _plain_layers.reset(token)


def uses_plain_layers() -> bool:
    """Return True inside of `plain_layers`."""
    return _plain_layers.get()


def is_fused(x: torch.Tensor) -> bool:
    """Return True if layers of this input are computed in fused form."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.nbytes >= MIN_BYTES
        and not torch.is_grad_enabled()
        and not uses_plain_layers()
        and not torch.is_autocast_enabled("cpu")
        and _has_fused_layers(x.dtype)
    )


def chunk_ranges(length: int, item_bytes: int, boundary: int = 0) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) that cover [0, length), in chunks of similar size that do not cross `boundary`.

    Args:
        length: number of items, such as frames.
        item_bytes: size of the widest intermediate result of one item.
        boundary: no range contains both items below it and items from it on.
    """
    limit = max(1, CHUNK_BYTES // item_bytes)
    for first, last in ((0, boundary), (boundary, length)):
        num_chunks = -(-(last - first) // limit)
        for chunk in range(num_chunks):
            yield first + (last - first) * chunk // num_chunks, first + (last - first) * (chunk + 1) // num_chunks


def linear(layer: nn.Linear | nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a linear layer, or a 1x1 convolution, to tokens (..., c)."""
    weight = layer.weight.flatten(1)
    if not is_fused(x):
        return F.linear(x, weight, layer.bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, layer.bias, "none", [], "")


def add_linear(residual: torch.Tensor, layer: nn.Linear | nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Return residual + layer(x) for tokens (..., c); a 1x1 convolution is a linear layer."""
    if not is_fused(x) and not isinstance(layer, nn.Conv2d):
        return residual + layer(x)  # also of a layer with LoRA, which its weight lacks
    weight = layer.weight.flatten(1)
    if not is_fused(x):
        return residual + F.linear(x, weight, layer.bias)
    return torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, layer.bias, "add")


def add_feed_forward(residual: torch.Tensor, layer: FeedForward, x: torch.Tensor) -> torch.Tensor:
    """Return residual + layer(x) for a GEGLU feed-forward layer (exact GELU) without dropout in inference."""
    if not is_fused(x):
        return residual + layer(x)
    first, second = cast(GEGLU, layer.net[0]).proj, cast(nn.Linear, layer.net[2])
    weights, biases = first.weight.chunk(2), first.bias.chunk(2)
    gate = torch.ops.mkldnn._linear_pointwise(x, weights[1], biases[1], "gelu", [], "none")
    hidden = torch.ops.mkldnn._linear_pointwise.binary(x, gate, weights[0], biases[0], "mul")
    return add_linear(residual, second, hidden)


def convolve(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a 3x3 convolution with padding 1 to (n, c, h, w).

    On small feature maps in bfloat16 it is a product of the pixels' neighbourhoods and the weights, which lie in memory
    as (c', 3, 3, c): 1.4 x the speed of oneDNN's convolution at 8 x 8 pixels, 5 x at 4 x 4.
    """
    num, _, height, width = x.shape
    if x.dtype != torch.bfloat16 or height * width > MAX_MATMUL_PIXELS or not is_fused(x):
        return layer(x)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    neighbourhoods = padded.unfold(1, 3, 1).unfold(2, 3, 1).permute(0, 1, 2, 4, 5, 3).reshape(num, height, width, -1)
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    pixels = torch.ops.mkldnn._linear_pointwise(neighbourhoods, weight, layer.bias, "none", [], "")
    return pixels.permute(0, 3, 1, 2)


@cache
def _has_fused_layers(dtype: torch.dtype) -> bool:
    """Return True if oneDNN's fused layers support this dtype here; they have been measured on x86 only."""
    operators = torch.ops.mkldnn
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if not is_x86 or not torch.backends.mkldnn.is_available() or not hasattr(operators, "_linear_pointwise"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and operators._is_mkldnn_bf16_supported())
