import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import torch

from latentsync.errors import InputError, LatentSyncError
from preprocess.executors import local
from preprocess.executors.base import Failed, FinishedTask, Task
from preprocess.executors.local import LocalExecutor, count_cores
from preprocess.step import Clip, Done, Output, ProcessClip, StepResult
from tests.fake_steps import HOG_BYTES, StampStep

PATIENCE_S = 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    return tmp_path / "tasks"


def executor(
    folder: Path, num_workers: int = 1, timeout_s: float = 60.0, limit_gb: float | None = None
) -> LocalExecutor:
    return LocalExecutor(folder.parent / "logs", num_workers, timeout_s, limit_gb)


def make_tasks(folder: Path, *texts: str) -> Iterator[Task]:
    for index, text in enumerate(texts):
        path = folder / f"{index}.mp4"
        path.write_text(text)
        yield Task(str(index), Clip(text, "s", text, path, {"note": str(path)}), folder / f"work{index}" / "task")


def failures(finished: Iterator[FinishedTask]) -> dict[str, Failed | None]:
    """Failure of each task by the clip's text; None if it did not fail."""
    return {end.task.clip.key: end.result if isinstance(end.result, Failed) else None for end in finished}


def has_ended(process: int) -> bool:
    """Return True if a process has ended or ends soon."""
    try:
        _, alive = psutil.wait_procs([psutil.Process(process)], PATIENCE_S)
        return not alive or alive[0].status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TellStep(StampStep):
    """Returns its process id and number of threads."""

    def process(self, clip: Clip, work: Path) -> StepResult:
        os.write(1, b"noise on stdout\n")
        os.write(2, b"noise on stderr\n")
        return Done((Output(facts={"process": os.getpid(), "threads": torch.get_num_threads()}),))


def test_a_worker_serves_many_clips(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finished = list(executor(folder, 2).run(TellStep(), make_tasks(folder, *map(str, range(6)))))
    facts = [end.result.outputs[0].facts for end in finished if isinstance(end.result, Done)]
    assert sorted(end.task.clip.key for end in finished) == list(map(str, range(6)))
    assert len({str(fact["process"]) for fact in facts}) <= 2
    assert str(os.getpid()) not in {str(fact["process"]) for fact in facts}
    assert all(fact["threads"] == max(1, count_cores() // 2) for fact in facts)
    printed = capfd.readouterr()
    assert "noise" not in printed.out + printed.err
    logs = "".join(file.read_text() for file in (folder.parent / "logs").iterdir())
    assert logs.count("noise on stderr") == logs.count("noise on stdout") == 6


def test_a_crash_costs_its_own_clip(folder: Path) -> None:
    found = failures(executor(folder).run(StampStep(), make_tasks(folder, "a", "crash", "b", "raise", "c")))
    assert found == {
        "a": None,
        "crash": Failed("crashed", "its worker was killed by SIGSEGV"),
        "b": None,
        "raise": Failed("error", "ValueError: bad clip"),
        "c": None,
    }


def test_a_hang_costs_its_own_clip_and_its_child_processes_are_killed(folder: Path) -> None:
    found = failures(executor(folder, timeout_s=2.0).run(StampStep(), make_tasks(folder, "hang", "a")))
    assert found == {"hang": Failed("timeout", "not finished after 2 s (--clip_timeout_s)"), "a": None}
    tool = int((folder / "work0" / "child").read_text())
    assert has_ended(tool)


def test_a_memory_hog_costs_its_own_clip(folder: Path) -> None:
    limit = HOG_BYTES / (1 << 30) * 0.7
    found = failures(executor(folder, limit_gb=limit).run(StampStep(), make_tasks(folder, "hog", "a")))
    assert found.pop("a") is None
    assert found["hog"] is not None
    assert found["hog"].reason == "memory"


def test_tasks_are_taken_when_workers_are_free(folder: Path) -> None:
    taken = []

    def tasks() -> Iterator[Task]:
        for task in make_tasks(folder, *map(str, range(9))):
            taken.append(task)
            yield task

    finished = executor(folder, 2).run(StampStep(), tasks())
    with closing(finished):  # type: ignore[type-var]
        next(finished)
        assert len(taken) <= 3


def test_closing_stops_the_workers(folder: Path) -> None:
    finished = executor(folder).run(TellStep(), make_tasks(folder, "a", "b"))
    with closing(finished):  # type: ignore[type-var]
        result = next(finished).result
        assert isinstance(result, Done)
        worker = result.outputs[0].facts["process"]
        assert isinstance(worker, int)
        assert psutil.pid_exists(worker)
    assert has_ended(worker)


def test_no_worker_without_a_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "serve", None)
    assert list(executor(folder).run(StampStep(), iter(()))) == []


class BrokenWeights(StampStep):
    """Cannot be loaded."""

    def load(self, device: torch.device) -> ProcessClip:
        raise InputError("a.pt is damaged: download it again")


class DyingLoad(StampStep):
    """Kills its worker while loading."""

    def load(self, device: torch.device) -> ProcessClip:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (BrokenWeights(), r"step 3 \(stamp\) cannot start: a.pt is damaged: download it again"),
        (DyingLoad(), r"step 3 \(stamp\) cannot start: a worker was killed by SIGKILL \(out of memory\?\); see .*logs"),
    ],
)
def test_a_step_that_cannot_be_loaded_stops_the_run(folder: Path, step: StampStep, message: str) -> None:
    with pytest.raises(LatentSyncError, match=message):
        list(executor(folder).run(step, make_tasks(folder, "a", "b")))


class DeviceStep(TellStep):
    """Runs a network."""

    uses_device: ClassVar[bool] = True


def test_how_many_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "count_accelerators", lambda: 3)
    every = LocalExecutor(folder)
    assert every.count_workers(StampStep()) == count_cores()
    assert every.count_workers(DeviceStep()) == 3
    assert executor(folder, 5).count_workers(DeviceStep()) == 5
    monkeypatch.setattr(local, "count_accelerators", lambda: 0)
    assert every.count_workers(DeviceStep()) == count_cores()
