"""Ctrl-C while a command loads its modules."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PYTHON = sys.executable

_INTERRUPTING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, *others):
        if name == "latentsync.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize(
    "command",
    [[PYTHON, "-m", "scripts.inference"], [PYTHON, "-u", "-m", "preprocess.pipeline"], ["./inference.sh"],
     [PYTHON, "-W", "ignore", "-m", "eval.run"], [PYTHON, "-m", "latentsync.doctor"], [PYTHON, "gradio_app.py"]],
)  # fmt: skip
def test_ctrl_c_while_modules_load_ends_without_a_traceback(repository: Path, tmp_path: Path, command: list[str]):
    """Ctrl-C arrives when the first module of a command is about to be imported."""
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTING)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(repository)])}
    done = subprocess.run([*command, "--help"], cwd=repository, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_program_of_somebody_else_keeps_its_own_handler(repository: Path):
    code = "import signal, latentsync; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
