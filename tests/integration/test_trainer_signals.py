"""Repeated signals, also during a save and at exit: the checkpoint is complete and no traceback is printed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentsync.training.checkpointing import CheckpointFolder, damage

_PROGRAM = """
import os, sys, time
from latentsync.cli import run_command
from tests.integration.tiny_training import TinyStep, fit
run_dir, number, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
class Step(TinyStep):
    def __call__(self, model, batch, context):
        if context.global_step == 1 and where == "outside":
            print("began", flush=True)
        if context.global_step >= 1 and where == "outside":
            time.sleep(0.05)
        return super().__call__(model, batch, context)
    def export(self, *arguments):
        if where == "save":
            for _ in range(20):
                os.kill(os.getpid(), number)
        super().export(*arguments)
        if where == "save":
            for _ in range(20):
                os.kill(os.getpid(), number)
sys.exit(run_command(lambda: fit(run_dir, Step(), max_steps=1000, save_every=2).exit_code))
"""


def start(run_dir: Path, number: signal.Signals, where: str, repository: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _PROGRAM, str(run_dir), str(int(number)), where]
    return subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_quiet_and_whole(process: "subprocess.Popen[str]", error: str, number: int, run_dir: Path) -> None:
    assert process.returncode == 128 + number, error
    for word in ("Traceback", "terminate called", "error:"):
        assert word not in error
    found = CheckpointFolder(run_dir).found()
    assert found
    assert [damage(path) for path in found] == [None] * len(found)
    assert not list((run_dir / "checkpoints").glob(".*"))


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGHUP", marks=pytest.mark.long)])
def test_signals_during_a_save_do_not_cut_it_short(tmp_path: Path, repository: Path, name: str) -> None:
    number = signal.Signals[name]
    with start(tmp_path / "run", number, "save", repository) as process:
        error = process.communicate(timeout=120)[1]
    assert_quiet_and_whole(process, error, number, tmp_path / "run")
    assert [path.name for path in CheckpointFolder(tmp_path / "run").found()] == ["step_00000002"]
    assert "exiting when the checkpoint is written" in error


@pytest.mark.parametrize("name", [pytest.param("SIGINT", marks=pytest.mark.long), "SIGTERM"])
def test_many_signals_until_the_process_is_gone(tmp_path: Path, repository: Path, name: str) -> None:
    number = signal.Signals[name]
    with start(tmp_path / "run", number, "outside", repository) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(number)
            time.sleep(0.01)
        error = process.communicate(timeout=120)[1]
    assert_quiet_and_whole(process, error, number, tmp_path / "run")
