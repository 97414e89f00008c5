"""benchmarks/gpu_machine.sh, with a `python3` that only writes down what it is asked to do."""

import os
import subprocess
from pathlib import Path

import pytest

SPY = """#!/bin/sh
echo "$* | $PYTHONPATH" >>"$CALLS"
case "$*" in *gpu_report*) exit ${REPORT_STATUS:-0};; esac
"""


@pytest.fixture
def call(tmp_path, repository):
    programs, wheels = tmp_path / "programs", tmp_path / "my wheels"
    programs.mkdir()
    wheels.mkdir()
    (programs / "python3").write_text(SPY)
    (programs / "python3").chmod(0o755)
    (wheels / "one-1.0-py3-none-any.whl").touch()

    def run(*arguments: str, **variables: str) -> tuple[int, list[str]]:
        calls = tmp_path / "calls"
        environment = {**os.environ, "CALLS": str(calls), "OUT": str(tmp_path / "out"), **variables}
        environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        command = [str(repository / "benchmarks" / "gpu_machine.sh"), str(wheels), *arguments]
        ended = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
        return ended.returncode, calls.read_text().splitlines()

    return run


def test_wheels_are_installed_without_a_network_and_the_report_is_run(call, tmp_path, repository):
    status, (install, report) = call("--size", "tiny")
    assert status == 0
    assert "-m pip install -q --no-index --no-deps --no-compile --target " in install
    assert str(tmp_path / "my wheels" / "one-1.0-py3-none-any.whl") in install
    target = install.split("--target ")[1].split()[0]
    assert report.startswith(f"-m benchmarks.gpu_report --out {tmp_path / 'out'} --size tiny | {repository}:{target}")
    assert not Path(target).parent.exists()


def test_with_ffmpeg_beside_the_wheels_the_published_path_is_measured_too(call, tmp_path):
    for name in ("ffmpeg", "ffprobe"):
        (tmp_path / "my wheels" / name).write_text("#!/bin/sh\n")
    status, (_, _, path) = call(REPORT_STATUS="1")
    assert status == 1
    assert path.startswith(f"-m benchmarks.published_path --out {tmp_path / 'out'} | ")
