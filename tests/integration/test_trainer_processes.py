"""Training with two processes gives the same weights as with one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.training.metrics import read_rows
from tests.integration.tiny_training import fit, mean_output

AVERAGED = {"ema_decay": 0.9, "optimizer": {"lr": 0.01}, "validate_every": 4}


def run_two(repository: Path, runs: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Start two gloo processes as torchrun does; return exit status and stderr of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.tiny_training", json.dumps(runs)],
            cwd=repository, text=True, stderr=subprocess.PIPE,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=600)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, list[tuple[int, str]]]:
    """One run with one process; with two: the same, a resumed one, a sharded one, and one that fails."""
    folder = tmp_path_factory.mktemp("runs")
    fit(folder / "one", batch_size=8, validator=mean_output, **AVERAGED)
    two = {"batch_size": 4, **AVERAGED}
    said = run_two(
        repository,
        [
            {"run_dir": str(folder / "two"), **two},
            {"run_dir": str(folder / "continued"), "resume": str(folder / "one/checkpoints/step_00000002"), **two},
            {"run_dir": str(folder / "sharded"), "is_sharded": True, **two, "max_steps": 2, "validate_every": 0},
            {"run_dir": str(folder / "sharded"), "is_sharded": True, **two},
            {"run_dir": str(folder / "broken"), "step": {"mishap": "nan", "rank": 1}, **two},
        ],
    )
    return folder, said


@pytest.mark.parametrize("name", ["two", "continued", "sharded"])
def test_two_processes_agree_with_one(runs: tuple[Path, list[tuple[int, str]]], name: str) -> None:
    folder, _ = runs
    one, two = (torch.load(folder / run / "tiny.pt", weights_only=True) for run in ("one", name))
    for key in one["state_dict"]:
        torch.testing.assert_close(two["state_dict"][key], one["state_dict"][key], rtol=1e-5, atol=1e-5)
    for key in ("train_loss", "train_absolute", "train_gradient_norm", "train_learning_rate", "validation_output"):
        assert two["history"][key] == pytest.approx(one["history"][key], rel=1e-5)
    rows = read_rows(folder / name / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3, 4]


def test_every_process_keeps_its_random_numbers(runs: tuple[Path, list[tuple[int, str]]]) -> None:
    checkpoint = runs[0] / "two/checkpoints/step_00000004"
    states = [torch.load(checkpoint / f"random_{rank}.pt", weights_only=True)["torch"] for rank in range(2)]
    assert not torch.equal(states[0], states[1])


def test_a_loss_that_is_no_number_in_one_process_ends_both(runs: tuple[Path, list[tuple[int, str]]]) -> None:
    for status, text in runs[1]:
        assert status == 1
        assert "NonFiniteLossError: the loss of step 3 is not finite" in text
        assert "its batch came from clip_" in text
