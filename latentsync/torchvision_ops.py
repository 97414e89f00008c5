"""Makes torchvision importable beside a CPU-only build of torch.

The torchvision wheel of the Python package index is built against the CUDA libraries. Beside a CPU-only torch its
compiled part cannot be loaded, and since its Python part registers shapes for two of the missing operators, even
``import torchvision`` fails, and with it facenet-pytorch, lpips, diffusers and transformers. Declaring those two
operators first, one of them with a plain implementation, and telling torchvision so mends that; where the compiled part
loads, nothing is done.
"""

import importlib.util
from pathlib import Path

import torch

_library: torch.library.Library | None = None


def declare_missing_operators() -> None:
    """Declares ``torchvision::nms`` and ``torchvision::qnms`` unless torchvision's own library provides them."""
    global _library
    if _library is not None or _compiled_part_loads():
        return
    _library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.impl("nms", non_maximum_suppression, "CPU")
    import torchvision.extension

    torchvision.extension._has_ops = lambda: True


def _compiled_part_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for library in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(library)
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def non_maximum_suppression(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Indices of the boxes kept, best first.

    Args:
        boxes: (n, 4) as x1, y1, x2, y2.
        scores: (n,).
        iou_threshold: a box goes when it overlaps a better one by more than this intersection over union.
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
