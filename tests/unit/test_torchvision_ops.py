import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from latentsync.torchvision_ops import non_maximum_suppression


def naive(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> list[int]:
    def area(box: torch.Tensor) -> float:
        return float((box[2] - box[0]) * (box[3] - box[1]))

    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        clear = True
        for j in kept:
            width = float(min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0]))
            height = float(min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1]))
            shared = max(width, 0) * max(height, 0)
            clear &= shared / (area(boxes[i]) + area(boxes[j]) - shared) <= threshold
        if clear:
            kept.append(i)
    return kept


def test_agrees_with_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 50
    boxes = torch.cat((corners, corners + 5 + torch.rand(60, 2, generator=generator) * 20), dim=1)
    scores = torch.rand(60, generator=generator)
    for threshold in (0.1, 0.5, 0.7):
        assert non_maximum_suppression(boxes, scores, threshold).tolist() == naive(boxes, scores, threshold)


def test_torchvision_imports_and_its_batched_version_works():
    from torchvision.ops import batched_nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [50, 50, 60, 60]])
    kept = batched_nms(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.zeros(3, dtype=torch.long), 0.5)
    assert kept.tolist() == [1, 2]


def test_no_boxes_are_no_trouble():
    assert non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5).numel() == 0


FAKE_EXTENSION = """
import pathlib
import torch

def _has_ops():
    return False

library = pathlib.Path(__file__).parent / "{library}.so"
if library.stat().st_size:
    try:
        torch.ops.load_library(library)
    except OSError:
        print("failed to load", library.name)
else:  # stands for a library that loads: what its static initialisers do, and what they would abort on
    assert not hasattr(torch.ops.torchvision, "nms"), "declared twice: a real library aborts the process here"
    compiled = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        compiled.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    print("loaded", library.name)
"""
FAKE_PACKAGE = """
from . import extension
import torch
for name in {operators}:
    torch.library.register_fake("torchvision::" + name)(lambda dets, scores, iou_threshold: dets)
"""
IMPORT = """
from latentsync.torchvision_ops import _declared
import torchvision
print("declared" if _declared else "nothing declared", torchvision.extension._has_ops())
"""
WITHOUT_QNMS, WITH_QNMS = ("nms",), ("nms", "qnms")  # torchvision 0.19 to 0.27, and from 0.28


@pytest.mark.parametrize(
    ("library", "operators", "content", "expected"),
    [
        ("_C", WITHOUT_QNMS, b"no library", ["failed to load _C.so", "failed to load _C.so", "declared True"]),
        ("_C", WITH_QNMS, b"no library", ["failed to load _C.so", "failed to load _C.so", "declared True"]),
        (
            "_C_stable",
            WITH_QNMS,
            b"no library",
            ["failed to load _C_stable.so", "failed to load _C_stable.so", "declared True"],
        ),
        ("_C_stable", WITH_QNMS, b"", ["loaded _C_stable.so", "nothing declared False"]),
    ],
    ids=["0.19", "0.28", "0.29", "0.29 that loads"],
)
def test_operators_are_declared_only_after_torchvisions_own_import_failed(
    tmp_path: Path, repository: Path, library: str, operators: tuple[str, ...], content: bytes, expected: list[str]
):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE_PACKAGE.format(operators=operators))
    (package / "extension.py").write_text(FAKE_EXTENSION.format(library=library))
    (package / f"{library}.so").write_bytes(content)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{repository}"}
    done = subprocess.run([sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


def test_another_fault_of_torchvision_is_not_hidden(tmp_path: Path, repository: Path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('built for another CUDA')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{repository}"}
    done = subprocess.run([sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == "RuntimeError: built for another CUDA"


def test_importing_the_package_imports_neither_torch_nor_torchvision(repository: Path):
    code = "import sys, latentsync.cli; print({'torch', 'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
