import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from latentsync.errors import InputError, LatentSyncError
from latentsync.executors import local
from latentsync.executors.base import Failed, FinishedTask, Limits, count_cores
from latentsync.executors.local import LocalExecutor
from latentsync.storage.atomic import atomic_write
from tests.fake_work import HOG_BYTES, TextWork

PATIENCE_S = 20


def executor(
    folder: Path, num_workers: int = 1, timeout_s: float = 60.0, limit_gb: float | None = None
) -> LocalExecutor:
    return LocalExecutor(folder / "logs", num_workers, Limits(timeout_s, limit_gb, "--patience_s"))


def failures(finished: Iterator[FinishedTask]) -> dict[str, Failed | None]:
    """Failure of each task; None if it did not fail."""
    return {end.task: end.result if isinstance(end.result, Failed) else None for end in finished}


def has_ended(process: int) -> bool:
    """Return True if a process has ended or ends soon."""
    try:
        _, alive = psutil.wait_procs([psutil.Process(process)], PATIENCE_S)
        return not alive or alive[0].status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TellWork(TextWork):
    """Returns process id and number of threads."""

    def load(self, device: torch.device) -> Callable[[str], Any]:
        def process(task: str) -> tuple[int, int]:
            os.write(1, b"noise on stdout\n")
            os.write(2, b"noise on stderr\n")
            return os.getpid(), torch.get_num_threads()

        return process


def test_a_worker_runs_many_tasks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finished = list(executor(tmp_path, 2).run(TellWork(), map(str, range(6))))
    assert sorted(end.task for end in finished) == list(map(str, range(6)))
    processes, threads = zip(*(end.result for end in finished), strict=True)
    assert len(set(processes)) <= 2
    assert os.getpid() not in processes
    assert set(threads) == {max(1, count_cores() // 2)}
    printed = capfd.readouterr()
    assert "noise" not in printed.out + printed.err
    logs = "".join(file.read_text() for file in (tmp_path / "logs").iterdir())
    assert logs.count("noise on stderr") == logs.count("noise on stdout") == 6


def test_an_error_while_waiting_stops_the_workers(tmp_path: Path) -> None:
    """The task ends long after the test."""

    def stop() -> None:
        if (tmp_path / "started").exists():
            raise InterruptedError("stop")

    with pytest.raises(InterruptedError, match="stop"):
        list(executor(tmp_path).run(SleepWork(), [str(tmp_path / "started")], stop))
    assert has_ended(int((tmp_path / "started").read_text()))


class SleepWork(TextWork):
    """Writes its process id into the file that a task names, and sleeps."""

    def load(self, device: torch.device) -> Callable[[str], Any]:
        def process(task: str) -> None:
            with atomic_write(Path(task)) as path:
                path.write_text(str(os.getpid()))
            time.sleep(600)

        return process


def test_without_logs_a_worker_prints_where_the_program_does(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(LocalExecutor(None, 1, start_method="fork").run(TellWork(), ["a"]))) == 1
    printed = capfd.readouterr()
    assert ("noise on stdout" in printed.out, "noise on stderr" in printed.err) == (True, True)


def test_a_crash_costs_its_own_task(tmp_path: Path) -> None:
    found = failures(executor(tmp_path).run(TextWork(), ["a", "crash", "b", "raise", "c"]))
    assert found == {
        "a": None,
        "crash": Failed("crashed", "its worker was killed by SIGSEGV"),
        "b": None,
        "raise": Failed("error", "ValueError: bad clip"),
        "c": None,
    }


@pytest.mark.parametrize("hang", ["hang", "hang detached"])
def test_a_hang_costs_its_own_task_and_its_child_processes_are_killed(tmp_path: Path, hang: str) -> None:
    task = f"{hang} {tmp_path / 'child'}"
    found = failures(executor(tmp_path, timeout_s=2.0).run(TextWork(), [task, "a"]))
    assert found == {task: Failed("timeout", "not finished after 2 s (--patience_s)"), "a": None}
    assert has_ended(int((tmp_path / "child").read_text()))


def test_a_memory_hog_costs_its_own_task(tmp_path: Path) -> None:
    limit = HOG_BYTES / (1 << 30) * 0.7
    found = failures(executor(tmp_path, limit_gb=limit).run(TextWork(), ["hog", "a"]))
    assert found.pop("a") is None
    assert found["hog"] is not None
    assert found["hog"].reason == "memory"


def test_tasks_are_taken_when_workers_are_free(tmp_path: Path) -> None:
    taken = []

    def tasks() -> Iterator[str]:
        for index in range(9):
            taken.append(index)
            yield str(index)

    finished = executor(tmp_path, 2).run(TextWork(), tasks())
    with closing(finished):  # type: ignore[type-var]
        next(finished)
        assert len(taken) <= 3


def test_closing_stops_the_workers(tmp_path: Path) -> None:
    finished = executor(tmp_path).run(TellWork(), ["a", "b"])
    with closing(finished):  # type: ignore[type-var]
        worker, _ = next(finished).result
        assert psutil.pid_exists(worker)
    assert has_ended(worker)


def test_no_worker_without_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local._Worker, "assign", None)
    assert list(executor(tmp_path).run(TextWork(), iter(()))) == []


class BrokenWeights(TextWork):
    """Cannot be loaded."""

    def load(self, device: torch.device) -> Callable[[str], Any]:
        raise InputError("a.pt is damaged: download it again")


class DyingLoad(TextWork):
    """Kills its worker while loading."""

    def load(self, device: torch.device) -> Callable[[str], Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (BrokenWeights(), r"the texts cannot start: a.pt is damaged: download it again"),
        (DyingLoad(), r"the texts cannot start: a worker was killed by SIGKILL \(out of memory\?\); see .*logs"),
    ],
)
def test_work_that_cannot_be_loaded_stops_the_run(tmp_path: Path, work: TextWork, message: str) -> None:
    with pytest.raises(LatentSyncError, match=message):
        list(executor(tmp_path).run(work, ["a", "b"]))


class DeviceWork(TextWork):
    """Runs a network."""

    uses_device = True


class LargeWork(DeviceWork):
    """Has a large network."""

    one_per_machine = True


def test_how_many_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "count_accelerators", lambda: 3)
    every = LocalExecutor(tmp_path)
    assert every.count_workers(TextWork()) == count_cores()
    assert every.count_workers(DeviceWork()) == every.count_workers(LargeWork()) == 3
    assert executor(tmp_path, 5).count_workers(DeviceWork()) == 5
    monkeypatch.setattr(local, "count_accelerators", lambda: 0)
    assert every.count_workers(DeviceWork()) == count_cores()
    assert every.count_workers(LargeWork()) == 1
