"""The published path whole: setup_env.sh downloads from a hub on this machine, and ./inference.sh takes what came.

The files have the published names, formats and structure at tiny sizes; a copy of the repository says so in
configs/unet. All other code is the real one. Nothing is installed and nothing leaves this machine.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_hub import FakeHub, serving
from tests.published_stand_ins import published_repositories, shrink_configs

PYTHON_WITHOUT_PIP = """#!/bin/sh
case "$*" in
    "-m pip"*) exit 0 ;;
    *) exec "$REAL_PYTHON" "$@" ;;
esac
"""


@pytest.fixture(scope="module")
def published() -> dict[str, dict[str, bytes]]:
    return published_repositories()


@pytest.fixture
def hub(published: dict[str, dict[str, bytes]]) -> Iterator[FakeHub]:
    with serving(FakeHub(published)) as held:
        yield held


class Copy:
    """A copy of what a user has after cloning, and an active environment into which nothing can be installed."""

    def __init__(self, folder: Path, repository: Path, hub: FakeHub) -> None:
        self.root = folder / "clone"
        for name in ("latentsync", "scripts", "configs", "checkpoints/demo"):
            shutil.copytree(repository / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in [*repository.glob("*.sh"), *repository.glob("*.toml"), *repository.glob("*.txt")]:
            shutil.copy(path, self.root)
        (self.root / "assets").symlink_to(repository / "assets")
        shrink_configs(self.root)
        python = folder / "environment" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON_WITHOUT_PIP)
        python.chmod(0o755)
        left_out = ("PYTHONPATH", "HF_HUB_OFFLINE", "HF_TOKEN")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in left_out},
            "VIRTUAL_ENV": str(folder / "environment"),
            "REAL_PYTHON": sys.executable,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "home"),
            "TORCH_HOME": str(folder / "torch home"),
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=600)


@pytest.fixture
def clone(tmp_path: Path, repository: Path, hub: FakeHub) -> Copy:
    return Copy(tmp_path, repository, hub)


@pytest.mark.parametrize(("version", "size"), [("1.6", 512), pytest.param("1.5", 256, marks=pytest.mark.long)])
def test_set_up_and_ready_to_run(clone: Copy, hub: FakeHub, version: str, size: int):
    hub.broken_after["latentsync_unet.pt"] = 400_000  # three connections for the 0.9 MB
    result = clone.run("./setup_env.sh", *(["--version", "1.5"] if version == "1.5" else []))
    assert result.returncode == 0, result.stderr
    assert hub.ranges("latentsync_unet.pt") == [None, "bytes=400000-", "bytes=800000-"]
    unet = clone.root / "checkpoints" / "latentsync_unet.pt"
    assert unet.read_bytes() == hub.repositories[f"ByteDance/LatentSync-{version}"]["latentsync_unet.pt"]
    assert json.loads(unet.with_suffix(".json").read_text())["version"] == version
    result = clone.run("./inference.sh", "--dry_run", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert f"weights: published-{size} ({unet})" in result.stdout
    assert "MTCNN" not in result.stderr
    if version == "1.5":  # as placed by hand, it must not run at another size
        unet.with_suffix(".json").unlink()
        result = clone.run("./inference.sh", "--dry_run", "--device", "cpu")
        assert result.returncode == 2
        assert f"error: {unet} is of an unknown release, the releases have equal shapes" in result.stderr
        assert "--version 1.5 (256 px) or --version 1.6 (512 px), which only records it" in result.stderr
