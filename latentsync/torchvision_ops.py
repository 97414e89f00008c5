"""Import torchvision also beside a CPU-only build of torch.

The torchvision wheels of the Python package index are linked against the CUDA libraries. Beside a CPU-only torch their
compiled library cannot be loaded. ``import torchvision`` then fails, because its Python code registers fake kernels for
one or two of the missing operators, and facenet-pytorch, lpips, diffusers and transformers fail with it.

Only when torchvision's own import has failed for this reason are these operators declared here and the import tried
again. Declaring an operator that a compiled library also declares would abort the process, so that libraries are not
loaded in the second attempt.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_MISSING_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")
_declared: list[torch.library.Library] = []  # an operator exists as long as its library object


def import_torchvision() -> None:
    """Import torchvision; declare ``nms`` and ``qnms`` if its compiled library cannot be loaded.

    Raises:
        ImportError, RuntimeError: torchvision is missing or broken in another way.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if not _MISSING_OPERATOR.search(str(error)) or hasattr(torch.ops.torchvision, "nms"):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    with _no_compiled_libraries():
        import torchvision.extension
    torchvision.extension._has_ops = lambda: True  # torchvision.ops asks before each call


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", non_maximum_suppression, "CPU")
    _declared.append(library)


@contextmanager
def _no_compiled_libraries() -> Iterator[None]:
    """Make `torch.ops.load_library` fail as it does for a library whose dependencies are missing."""

    def refuse(path: str) -> None:
        raise OSError(f"{path} is not loaded beside operators that were declared in Python")

    load_library = torch.ops.load_library
    torch.ops.load_library = refuse
    try:
        yield
    finally:
        torch.ops.load_library = load_library


def non_maximum_suppression(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices of the boxes that are kept, best first.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2.
        scores: (n,).
        iou_threshold: a box is dropped when its intersection over union with a better one is above this.
    """
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
