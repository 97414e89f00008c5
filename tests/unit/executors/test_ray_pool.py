"""The pool with a stand-in for Ray that replies at once, and machines that can be lost."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentsync.errors import CheckpointError, InputError, LatentSyncError
from latentsync.executors import ray_pool
from latentsync.executors.base import Failed, FinishedTask
from latentsync.executors.local import LocalExecutor
from latentsync.executors.ray_executor import import_ray
from latentsync.executors.ray_pool import MAX_ATTEMPTS, MAX_FAILED_STARTS, RayPool
from tests.fake_work import TextWork


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """Stand-in for the parts of Ray that the pool uses.

    `ends` returns the finished task; `starts` returns True if actors start on a machine.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft))
    )

    def __init__(self, ends: Callable[[str], FinishedTask], **machines: dict[str, float]) -> None:
        self.machines = machines
        self.ends = ends
        self.starts: Callable[[str], bool] = lambda machine: True
        self.started: list[dict[str, Any]] = []
        self.executors: list[LocalExecutor] = []
        self.killed: list[Any] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True, "Resources": each} for name, each in self.machines.items()]

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(options=self._options)

    def kill(self, handle: Any) -> None:
        self.killed.append(handle)

    def _options(self, **options: Any) -> Any:
        def start(*arguments: Any) -> Any:
            self.started.append(options)
            self.executors.append(arguments[1])
            machine = options["scheduling_strategy"][0]
            ready = SimpleNamespace(remote=lambda: _reference(lambda: self._start(machine)))
            return SimpleNamespace(
                ready=ready, run=SimpleNamespace(remote=lambda task: _reference(lambda: self.ends(task)))
            )

        return SimpleNamespace(remote=start)

    def _start(self, machine: str) -> None:
        if not self.starts(machine):
            raise RayError("no such device")


def _reference(call: Callable[[], Any]) -> Any:
    future: Future = Future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return SimpleNamespace(future=lambda: future)


def done(task: str) -> FinishedTask:
    return FinishedTask(task, "done", 0.0)


def pool(ray: FakeRay, num_workers: int | None = None, work: TextWork | None = None) -> RayPool:
    return RayPool(ray, work or TextWork(), LocalExecutor(Path("logs"), 1), num_workers)


def tasks(number: int) -> Iterator[str]:
    for index in range(number):
        yield f"r{index}"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "POLL_INTERVAL_S", 0.01)


def test_one_worker_a_core() -> None:
    ray = FakeRay(done, small={"CPU": 1.0}, large={"CPU": 4.0, "GPU": 2.0})
    ends = list(pool(ray).run(tasks(20)))
    assert Counter(end.task for end in ends) == Counter(f"r{index}" for index in range(20))
    assert [(each["num_cpus"], each["num_gpus"]) for each in ray.started] == [(1, 0), (4, 0)]
    assert [each["scheduling_strategy"] for each in ray.started] == [("small", False), ("large", False)]


class DeviceWork(TextWork):
    """Runs a network."""

    uses_device = True


class LargeWork(DeviceWork):
    """Has a large network."""

    one_per_machine = True


def test_one_worker_a_machine_for_large_networks_without_gpus() -> None:
    ray = FakeRay(done, small={"CPU": 1.0}, large={"CPU": 4.0})
    assert len(list(pool(ray, work=LargeWork()).run(tasks(9)))) == 9
    assert [(each["num_cpus"], each["max_concurrency"]) for each in ray.started] == [(1, 2), (4, 2)]
    assert [executor.num_threads for executor in ray.executors] == [1, 4]


def test_one_actor_a_gpu_where_the_work_uses_one() -> None:
    ray = FakeRay(done, small={"CPU": 1.0}, large={"CPU": 4.0, "GPU": 2.0})
    assert len(list(pool(ray, work=DeviceWork()).run(tasks(5)))) == 5
    places = [(each["scheduling_strategy"][0], each["num_cpus"], each["num_gpus"]) for each in ray.started]
    assert places == [("large", 1, 1), ("large", 1, 1)]


def test_cores_do_where_there_is_no_gpu() -> None:
    ray = FakeRay(done, one={"CPU": 2.0})
    assert len(list(pool(ray, work=DeviceWork()).run(tasks(5)))) == 5
    assert [(each["num_cpus"], each["num_gpus"]) for each in ray.started] == [(2, 0)]


def test_no_more_workers_than_asked_for() -> None:
    ray = FakeRay(done, one={"CPU": 2.0}, two={"CPU": 8.0}, three={"CPU": 8.0})
    assert len(list(pool(ray, num_workers=5).run(tasks(9)))) == 9
    assert [each["num_cpus"] for each in ray.started] == [2, 3]


def test_nothing_is_started_for_no_tasks() -> None:
    ray = FakeRay(done, one={"CPU": 2.0})
    assert list(pool(ray).run(tasks(0))) == []
    assert ray.started == []


def test_tasks_are_taken_when_workers_are_free() -> None:
    taken: list[int] = []

    def endless() -> Iterator[str]:
        for index in count():
            taken.append(index)
            yield next(tasks(1))

    ray = FakeRay(done, one={"CPU": 3.0})
    ends = pool(ray).run(endless())
    for _ in range(10):
        next(ends)
    assert len(taken) <= 10 + 3 + 1


def test_a_task_that_was_lost_runs_elsewhere() -> None:
    lost: list[str] = []

    def lose_once(task: str) -> FinishedTask:
        if task == "r2" and not lost:
            lost.append(task)
            raise RayError("the machine is gone")
        return done(task)

    ray = FakeRay(lose_once, one={"CPU": 1.0})
    ends = {end.task: end for end in pool(ray).run(tasks(4))}
    assert sorted(ends) == ["r0", "r1", "r2, attempt 2", "r3"]  # as the work changes a task for another attempt
    assert not any(isinstance(end.result, Failed) for end in ends.values())
    assert len(ray.started) == 2
    assert len(ray.killed) == 1


def test_a_task_that_is_always_lost_fails() -> None:
    attempts: Counter[str] = Counter()

    def lose(task: str) -> FinishedTask:
        name = task.partition(",")[0]
        attempts[name] += 1
        if name == "r1":
            raise RayError("the machine is gone")
        return done(task)

    ends = {end.task: end for end in pool(FakeRay(lose, one={"CPU": 1.0})).run(tasks(3))}
    lost = f"r1, attempt {MAX_ATTEMPTS}"
    assert sorted(ends) == ["r0", lost, "r2"]
    assert attempts["r1"] == MAX_ATTEMPTS
    result = ends[lost].result
    assert isinstance(result, Failed)
    assert result.reason == "crashed"
    assert "the machine is gone" in result.detail


def test_a_machine_that_joins_gets_work() -> None:
    ray = FakeRay(done)
    ends = pool(ray).run(tasks(2))
    calls = iter([[], [], ["late"]])

    def nodes() -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True, "Resources": {"CPU": 1.0}} for name in next(calls, ["late"])]

    ray.nodes = nodes  # type: ignore[method-assign]
    assert len(list(ends)) == 2


def test_a_machine_where_nothing_starts_is_left_alone() -> None:
    ray = FakeRay(done, bad={"CPU": 1.0}, good={"CPU": 1.0})
    ray.starts = lambda machine: machine == "good"
    assert len(list(pool(ray).run(tasks(30)))) == 30
    assert sum(each["scheduling_strategy"][0] == "bad" for each in ray.started) <= MAX_FAILED_STARTS


def test_where_nothing_starts_anywhere_the_run_stops() -> None:
    ray = FakeRay(done, bad={"CPU": 1.0})
    ray.starts = lambda machine: False
    with pytest.raises(LatentSyncError, match="the texts: Ray cannot start"):
        list(pool(ray).run(tasks(1)))


def test_work_that_cannot_be_loaded_stops_the_run() -> None:
    def cannot_load(task: str) -> FinishedTask:
        raise RayTaskError(CheckpointError("no weights"))

    with pytest.raises(CheckpointError, match="no weights"):
        list(pool(FakeRay(cannot_load, one={"CPU": 1.0})).run(tasks(1)))


def test_kill_ends_every_actor() -> None:
    ray = FakeRay(done, one={"CPU": 1.0}, two={"CPU": 2.0})
    workers = pool(ray)
    next(workers.run(tasks(9)))
    workers.kill()
    assert len(ray.killed) == len(ray.started) == 2


def test_without_ray_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"\.\[cluster\]"):
        import_ray()
