"""A stand-in for nvidia-smi on PATH, and a torch that finds or does not find a card."""

import os
import sys
from pathlib import Path

import pytest
import torch

HEADER = "| NVIDIA-SMI {release}    Driver Version: {release}    CUDA Version: {cuda}     |"
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
"""Architectures of the CUDA 13 builds."""


def put_nvidia_smi(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str = "NVIDIA GeForce RTX 3090",
    capability: str | None = "8.6",
    release: str = "535.104.05",
    header: str = HEADER,
    cuda: str = "12.2",
    status: int = 0,
) -> None:
    """Write a program that answers like nvidia-smi; without a capability it refuses the field `compute_cap`."""
    program, answers = folder / "nvidia-smi", folder / "nvidia_smi.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{answers}" "$@"\n')  # its path may hold a space
    answers.write_text(
        "import sys\n"
        f"name, capability, status = {name!r}, {capability!r}, {status!r}\n"
        "query = sys.argv[1] if len(sys.argv) > 1 else ''\n"
        "if 'compute_cap' in query and capability is None:\n"
        "    sys.exit('Field \"compute_cap\" is not a valid field to query.')\n"
        "if query:\n"
        "    print(f'{name}, {capability}' if 'compute_cap' in query else name)\n"
        "else:\n"
        f"    print({header.format(release=release, cuda=cuda)!r})\n"
        "sys.exit(status)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def hide_system_driver(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine without an NVIDIA driver: no nvidia-smi and no files of the driver."""
    monkeypatch.setattr("latentsync.accelerator.DRIVER_FILE", folder / "version")
    monkeypatch.setattr("latentsync.accelerator.DEVICE_FOLDER", folder)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    set_torch(monkeypatch)


def set_torch(
    monkeypatch: pytest.MonkeyPatch,
    cuda: str | None = None,
    hip: str | None = None,
    capability: tuple[int, int] | None = None,
    architectures: list[str] = ARCHITECTURES,
) -> None:
    """Simulate a build of torch for `cuda` or `hip` that finds one card of this capability, or none."""
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(capability is not None))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA GeForce GTX 1080")
