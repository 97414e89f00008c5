"""A Ray cluster of two simulated machines with one core each; one is lost during a run."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil
import pytest

from latentsync.executors.base import Failed, Limits
from latentsync.executors.ray_executor import RayExecutor
from preprocess.step import Clip, Done, Rejected
from preprocess.step_work import FinishedClip, StepWork, Task
from tests.fake_ray_steps import FakeConfig, FakeStep
from tests.ray_machines import two_machines

pytest.importorskip("ray", reason="Ray is not installed (pip install --editable '.[cluster]')")

FINE_AFTER_BAD = ("fine-a", "fine-b", "fine-c")
BAD = ("dies", FINE_AFTER_BAD[0], "raises", "hangs", FINE_AFTER_BAD[1], "rejected", FINE_AFTER_BAD[2])


@dataclass
class OneRun:
    """A run: names of the assigned tasks, finished tasks in order, and the folder shared with the workers."""

    folder: Path
    assigned: list[str] = field(default_factory=list)
    finished: list[FinishedClip] = field(default_factory=list)
    max_in_progress: int = 0
    is_lost: bool = False

    def tasks(self) -> Iterator[Task]:
        """Yield good clips until a machine is lost, then the bad ones."""
        for index in count():
            if self.is_lost:
                break
            time.sleep(0.02)
            yield self.task(f"fine-{index}")
        yield from map(self.task, BAD)

    def task(self, name: str) -> Task:
        self.assigned.append(name)
        self.max_in_progress = max(self.max_in_progress, len(self.assigned) - len(self.finished))
        clip = Clip(f"key-{name}", "source", name, self.folder / name)
        return Task(f"record-{name}", clip, self.folder / ".work" / f"record-{name}")

    def end(self, name: str) -> FinishedClip:
        (finished,) = [finished for finished in self.finished if finished.task.clip.name == name]
        return finished


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneRun]:
    """Return a finished run while the cluster is still running."""
    run = OneRun(tmp_path_factory.mktemp("cluster"))
    with two_machines() as (address, lose_one):
        executor = RayExecutor(run.folder / "logs", address, limits=Limits(5.0))
        for finished in executor.run(StepWork(FakeStep(FakeConfig(str(run.folder)))), run.tasks()):
            run.finished.append(finished)
            if not run.is_lost and list(run.folder.glob("begun-*")):
                lose_one()
                run.is_lost = True
        yield run


def process_of(finished: FinishedClip) -> int:
    assert isinstance(finished.result, Done), finished.result
    return int(str(finished.result.outputs[0].facts["process"]))


def failure_of(finished: FinishedClip) -> Failed:
    assert isinstance(finished.result, Failed)
    return finished.result


def test_every_task_finishes_exactly_once(run: OneRun) -> None:
    assert run.is_lost
    assert Counter(finished.task.clip.name for finished in run.finished) == Counter(run.assigned)


def test_a_lost_machine_costs_no_task(run: OneRun) -> None:
    failed = {finished.task.clip.name for finished in run.finished if isinstance(finished.result, Failed)}
    assert failed == {"dies", "raises", "hangs"}
    (begun,) = run.folder.glob("begun-*")
    again = run.end(begun.name.removeprefix("begun-"))
    assert again.task.work == run.folder / ".work" / f"{again.task.record_key}-2"
    assert isinstance(again.result, Done)
    assert again.result.outputs[0].file == again.task.work / "out.txt"


def test_a_bad_clip_costs_only_itself(run: OneRun) -> None:
    assert failure_of(run.end("dies")).reason == "crashed"
    assert failure_of(run.end("raises")) == Failed("error", "ValueError: as told")
    assert failure_of(run.end("hangs")).reason == "timeout"
    assert run.end("rejected").result == Rejected("dull", "very", {"measured": 1})
    processes = [process_of(finished) for finished in (run.finished[0], *map(run.end, FINE_AFTER_BAD[:2]))]
    assert len(set(processes)) == 3  # replaced after the crash and after the hang


def test_the_step_is_loaded_once_a_worker(run: OneRun) -> None:
    num_loaded = len(list(run.folder.glob("loaded-*")))
    assert num_loaded == 4  # one on each machine; two replaced on the one that stayed
    assert process_of(run.end(FINE_AFTER_BAD[1])) == process_of(run.end(FINE_AFTER_BAD[2]))


def test_tasks_are_not_taken_ahead(run: OneRun) -> None:
    assert run.max_in_progress <= 3  # one per worker, and one that waits


def test_no_worker_is_left(run: OneRun) -> None:
    process = process_of(run.end(FINE_AFTER_BAD[2]))
    deadline = time.monotonic() + 60
    while psutil.pid_exists(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(process)
