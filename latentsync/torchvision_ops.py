"""Make torchvision importable beside a CPU-only build of torch.

The torchvision wheels of the Python package index are linked against the CUDA libraries. Beside a CPU-only torch their
compiled library cannot be loaded. ``import torchvision`` then fails, because its Python code registers fake kernels for
one or two of the missing operators, and facenet-pytorch, lpips, diffusers and transformers fail with it.

Only after torchvision's own import has failed for this reason are these operators declared here and the import retried.
Declaring an operator that a compiled library also declares would abort the process, so that no libraries are loaded
during the second attempt.

All of this happens when torchvision is first imported, because importing torch and torchvision takes
about 1.3 s each.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latentsync.import_hook import ExecuteModule, ExecutionHook

if TYPE_CHECKING:
    from types import ModuleType

    import torch

_MISSING_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")
_declared: list[torch.library.Library] = []  # an operator exists as long as its library object


def install_torchvision_hook() -> None:
    """Install the import hook for torchvision, once per process."""
    ExecutionHook({"torchvision": _execute}).install()


def _execute(execute_module: ExecuteModule, module: ModuleType) -> None:
    """Execute torchvision; declare ``nms`` and ``qnms`` and try again if its compiled library cannot be loaded.

    Raises:
        RuntimeError: torchvision is broken in another way.
    """
    import torch

    clean = dict(vars(module))
    try:
        execute_module(module)
        return
    except RuntimeError as error:
        if not _MISSING_OPERATOR.search(str(error)) or hasattr(torch.ops.torchvision, "nms"):
            raise
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
    vars(module).clear()
    vars(module).update(clean)
    _declare_operators()
    with _no_compiled_libraries():
        execute_module(module)
        extension = importlib.import_module("torchvision.extension")
    vars(extension)["_has_ops"] = lambda: True  # torchvision.ops calls it before each operator


def _declare_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", non_maximum_suppression, "CPU")
    _declared.append(library)


@contextmanager
def _no_compiled_libraries() -> Iterator[None]:
    """Make `torch.ops.load_library` fail as it does for a library whose dependencies are missing."""
    import torch

    def refuse(path: str) -> None:
        raise OSError(f"{path} is not loaded beside operators that were declared in Python")

    load_library = torch.ops.load_library
    torch.ops.load_library = refuse
    try:
        yield
    finally:
        torch.ops.load_library = load_library


def non_maximum_suppression(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of the boxes that are kept, highest score first.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2.
        scores: (n,).
        iou_threshold: a box is dropped when its intersection over union with a kept box of higher score is above this.
    """
    import torch

    order = scores.argsort(descending=True, stable=True)
    top_left, bottom_right = boxes[order, :2], boxes[order, 2:]
    area = (bottom_right - top_left).prod(dim=1)
    keep = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if not keep[i]:
            continue
        overlap = torch.minimum(bottom_right[i], bottom_right[i + 1 :]) - torch.maximum(top_left[i], top_left[i + 1 :])
        shared = overlap.clamp(min=0).prod(dim=1)
        keep[i + 1 :] &= shared / (area[i] + area[i + 1 :] - shared) <= iou_threshold
    return order[keep]
