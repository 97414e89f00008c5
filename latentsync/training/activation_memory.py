"""Count the memory of a training step's tensors, also on the meta device, where nothing is allocated."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that live at the same time, and their peak, while this mode is active.

    Memory that kernels allocate for themselves, such as cuDNN's workspaces, is not seen.

    Args:
        existing: tensors that are not counted, such as parameters; neither are their views.

    Attributes:
        live: bytes of the counted tensors that still exist.
        peak: largest value of `live`.
    """

    def __init__(self, existing: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self._existing = [tensor.untyped_storage() for tensor in existing]  # kept, so that no address is used again
        self._sizes: dict[int, int] = {storage._cdata: 0 for storage in self._existing}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and count the storages of its results."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live += self._sizes[key]
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


class FusedAttention(TorchFunctionMode):
    """Computes attention by the fused operator, which keeps no matrix of scores, as cards do in half precision.

    On the meta device torch would select the plain form.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace scaled dot product attention."""
        if func is F.scaled_dot_product_attention and not kwargs:
            return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args)[0]
        return func(*args, **(kwargs or {}))


def recompute_with_fused_attention(layer: Callable[..., Any], *args: Any) -> Any:
    """Run a layer of a network with gradient checkpointing; `FusedAttention` is also active when it is recomputed."""
    return checkpoint(partial(_fused, layer), *args, use_reentrant=False)


def _fused(layer: Callable[..., Any], *args: Any) -> Any:
    with FusedAttention():
        return layer(*args)


def step_bytes(existing: Iterable[torch.Tensor], loss: Callable[[], torch.Tensor]) -> int:
    """Return the peak of the tensors of a forward and a backward pass, without `existing` ones.

    Args:
        existing: parameters, buffers, gradients and inputs.
        loss: computes the loss.
    """
    with LiveBytes(existing) as live, FusedAttention():
        loss().backward()
    return live.peak
