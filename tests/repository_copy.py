"""Copies of the repository: as after `git clone`, and with stand-ins for the published weights."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from latentsync.weights import DEFAULT_VERSION, REPOSITORY_ROOT, VERSIONS, published_files, record_version

FOLDERS = (
    ".ci", "assets", "benchmarks", "checkpoints/demo", "configs", "demo", "docs", "eval", "integrations", "latentsync",
    "preprocess", "scripts", "tests",
)  # fmt: skip
STAND_IN = bytes(4096)
"""Content of a stand-in for published weights: zeros, which no program can load."""


def copy_repository(folder: Path) -> Path:
    """Copy the repository into a new folder, without downloaded weights, environments and caches."""
    for source in _files_of_git() if (REPOSITORY_ROOT / ".git").exists() else _files_by_name():
        target = folder / source.relative_to(REPOSITORY_ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    return folder


def _files_of_git() -> list[Path]:
    """Return the files that git tracks or would add."""
    listing = ["git", "-C", str(REPOSITORY_ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, check=True).stdout.decode().split("\0")
    files = [REPOSITORY_ROOT / name for name in filter(None, names)]
    return [file for file in files if file.is_file()]  # a deleted file is listed until the deletion is staged


def _files_by_name() -> list[Path]:
    """Return the same files for sources without a .git folder, by the top-level names of the repository."""
    kept = [path for path in REPOSITORY_ROOT.iterdir() if path.is_file()]
    kept.append(REPOSITORY_ROOT / "checkpoints" / "README.md")
    for name in FOLDERS:
        kept += [path for path in (REPOSITORY_ROOT / name).rglob("*") if path.is_file()]
    return [path for path in kept if "__pycache__" not in path.parts]


def add_stand_ins(checkpoints: Path) -> None:
    """Write a stand-in for every published weights file, and the record of the release that the setup writes."""
    for version in VERSIONS:
        for file in published_files(version):
            (checkpoints / file.path).parent.mkdir(parents=True, exist_ok=True)
            (checkpoints / file.path).write_bytes(STAND_IN)
    record_version(DEFAULT_VERSION, checkpoints)


def is_stand_in(path: Path | None) -> bool:
    """Return True if the file is a stand-in for published weights."""
    return path is not None and path.stat().st_size == len(STAND_IN) and path.read_bytes() == STAND_IN


def environment_of(copy: Path, home: Path) -> dict[str, str]:
    """Return the environment variables for commands of a copy.

    Args:
        copy: the copied repository; its modules are imported before those of this one.
        home: where caches of torch and of the hub are looked for, instead of the user's.
    """
    caches = {"TORCH_HOME": str(home / "torch"), "HF_HOME": str(home / "hub")}
    return {**os.environ, **caches, "PYTHONPATH": str(copy), "VIRTUAL_ENV": sys.prefix}
