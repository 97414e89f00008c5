"""The ComfyUI nodes in an environment with another numpy and without this package, against a running service."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentsync.jobs.limits import Limits
from latentsync.pipelines.options import LipsyncOptions
from latentsync.server.lipsync_work import LipsyncWork
from latentsync.server.serving import serving
from latentsync.server.settings import ServiceSettings
from latentsync.weights import REPOSITORY_ROOT
from tests.tiny_pipeline import tiny_pipeline

pytestmark = pytest.mark.slow
OTHER_NUMPY = "2.1.3"
"""A version that no constraint of this repository selects, for Python 3.10 to 3.13."""

CLIENT = REPOSITORY_ROOT / "tests" / "comfyui_client.py"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of a service with tiny networks."""
    settings = ServiceSettings(tmp_path / "service", port=0)
    work = LipsyncWork(tiny_pipeline(), Limits(), LipsyncOptions(num_inference_steps=1))
    with serving(work, settings, settings.bind()) as address:
        yield address


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """Return the Python of an environment with another numpy; everything else is that of this one."""
    folder = tmp_path / "environment"
    python = folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(folder)], check=True)
    install = [*uv, "pip", "install", "--python", str(python), f"numpy=={OTHER_NUMPY}"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"numpy {OTHER_NUMPY} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    (found,) = folder.glob("lib/python*/site-packages")
    (found / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run_client(python: Path, folder: Path, url: str) -> dict[str, Any]:
    sources = (REPOSITORY_ROOT / "integrations" / "comfyui", REPOSITORY_ROOT / "tests" / "comfyui_stand_in")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))}
    command = [str(python), str(CLIENT), str(folder), url]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_client_with_another_numpy_and_a_real_service(url: str, other_python: Path, tmp_path: Path):
    folder = tmp_path / "comfyui"
    folder.mkdir()
    got = run_client(other_python, folder, url)
    assert got["numpy"] == OTHER_NUMPY != np.__version__
    assert not got["has latentsync"]
    assert (got["shape"], got["fps"], got["num_samples"]) == ([12, 112, 128, 3], 25.0, 7680)
    assert got["changed in the corner"] < 0.05 < got["changed in the mouth"]
    assert got["last progress"] == 1000
    assert got["path"] == str(folder / "output" / "dub_00001_.mp4")
    assert Path(got["path"]).stat().st_size > 1000
    assert got["cancelled"] in ("running", "cancelled")  # a running job stops at its next report
    assert got["refused"].endswith("guidance_scale is 99.0: it must be between 1 and 20")
