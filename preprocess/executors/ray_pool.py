"""Actors of one step on a Ray cluster, and the assignment of tasks to their workers.

An actor runs no step itself. It supervises worker processes with `LocalExecutor`, so that time limits, memory limits
and crashes are handled as without Ray. Ray only places the actors and reports when one is lost.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from latentsync.errors import LatentSyncError
from preprocess.executors.base import Failed, FinishedTask, Task
from preprocess.executors.local import LocalExecutor
from preprocess.step import Step

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A task fails after it was lost with its actor this often. (A task that kills its worker process fails at once.)"""
MAX_FAILED_STARTS = 3
"""A machine is not used for the rest of the step after this many failed starts of an actor in a row."""
POLL_INTERVAL_S = 5.0
"""Time between two queries of the cluster's machines."""


@dataclass
class _Actor:
    """An actor.

    Attributes:
        handle: Ray's handle.
        node: id of its machine.
        num_workers: number of its workers.
        num_free: number of workers without a task; 0 until the actor has started.
    """

    handle: Any
    node: str
    num_workers: int
    num_free: int = 0


@dataclass(frozen=True)
class _Call:
    """A pending call of an actor: of `ready` if `task` is None, else of `run`, started at time `since`."""

    actor: _Actor
    task: Task | None = None
    since: float = 0.0


class RayPool:
    """Runs the tasks of one step. It holds one task per worker, and one more that waits.

    Args:
        ray: the module, connected to a cluster.
        step: the step.
        local: executor that runs one worker on its machine.
        num_workers: maximum number of workers; None: as many as the cluster has room for.
    """

    def __init__(self, ray: Any, step: Step, local: LocalExecutor, num_workers: int | None) -> None:
        self._ray = ray
        self._step = step
        self._local = local
        self._num_workers = num_workers
        self._waiting: deque[Task] = deque()
        self._actors: list[_Actor] = []
        self._calls: dict[Future, _Call] = {}
        """Pending calls."""
        self._completed: SimpleQueue[Future] = SimpleQueue()
        self._num_attempts: Counter[str] = Counter()
        self._num_failed_starts: Counter[str] = Counter()
        self._num_started = 0
        self._next_query = 0.0

    def run(self, tasks: Iterator[Task]) -> Iterator[FinishedTask]:
        """Yield every task when it finishes."""
        while True:
            self._assign_tasks(tasks)
            if self._waiting and time.monotonic() >= self._next_query:
                self._start_actors()
                self._next_query = time.monotonic() + POLL_INTERVAL_S
            if not self._waiting and all(call.task is None for call in self._calls.values()):
                return
            if not self._calls:
                logger.warning("the Ray cluster has no machine for step %s: waiting for one", self._step.name)
                time.sleep(POLL_INTERVAL_S)
                continue
            try:
                # Not ray.wait: an exception that a signal handler raises in there is lost.
                future = self._completed.get(timeout=POLL_INTERVAL_S)
            except Empty:
                continue
            finished = self._handle_reply(future, self._calls.pop(future))
            if finished is not None:
                yield finished

    def kill(self) -> None:
        """Kill all actors and their workers."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors, self._calls = [], {}

    def _assign_tasks(self, tasks: Iterator[Task]) -> None:
        """Give every free worker a task. One more task is fetched, which shows that more workers would help."""
        while self._waiting or self._fetch(tasks):
            actor = next((actor for actor in self._actors if actor.num_free > 0), None)
            if actor is None:
                return
            task = self._waiting.popleft()
            actor.num_free -= 1
            self._register(actor.handle.run.remote(task), _Call(actor, task, time.monotonic()))

    def _fetch(self, tasks: Iterator[Task]) -> bool:
        task = next(tasks, None)
        if task is not None:
            self._waiting.append(task)
        return task is not None

    def _start_actors(self) -> None:
        """Start actors on every machine with room for workers, up to the maximum number of workers."""
        num_left = None if self._num_workers is None else self._num_workers - self._count_workers()
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        usable = [node for node in nodes if self._num_failed_starts[node["NodeID"]] < MAX_FAILED_STARTS]
        if nodes and not usable and not self._actors:
            raise LatentSyncError(
                f"step {self._step.number} ({self._step.name}): Ray cannot start a worker on any machine; "
                "see the warnings above, and Ray's own logs"
            )
        num_gpus_of = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in usable}
        with_gpus = self._step.uses_device and any(num_gpus_of.values())
        for node in usable:
            name = node["NodeID"]
            room = num_gpus_of[name] if with_gpus else int(node["Resources"]["CPU"])
            room -= sum(actor.num_workers for actor in self._actors if actor.node == name)
            room = room if num_left is None else min(room, num_left)
            if room <= 0:
                continue
            for num_workers in [1] * room if with_gpus else [room]:
                self._start(name, num_workers, int(with_gpus))
            num_left = None if num_left is None else num_left - room

    def _count_workers(self) -> int:
        return sum(actor.num_workers for actor in self._actors)

    def _start(self, node: str, num_workers: int, num_gpus: int) -> None:
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        remote = self._ray.remote(RayWorkers).options(
            num_cpus=num_workers,
            num_gpus=num_gpus,
            max_restarts=0,
            max_concurrency=num_workers + 1,
            scheduling_strategy=strategy,
        )
        local = replace(self._local, log_folder=self._local.log_folder / f"actor_{self._num_started}")
        self._num_started += 1
        actor = _Actor(remote.remote(self._step, local, num_workers), node, num_workers)
        self._actors.append(actor)
        self._register(actor.handle.ready.remote(), _Call(actor))

    def _register(self, reference: Any, call: _Call) -> None:
        future = reference.future()
        self._calls[future] = call
        future.add_done_callback(self._completed.put)

    def _handle_reply(self, future: Future, call: _Call) -> FinishedTask | None:
        """ProcessClip the reply of an actor: it has started, finished a task, or is lost. Return a finished task."""
        try:
            finished = future.result()
        except self._ray.exceptions.RayTaskError as error:  # raised by the method itself: the step cannot be loaded
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            return self._handle_loss(call, (str(error).strip().splitlines() or [type(error).__name__])[0])
        if call.task is None:
            self._num_failed_starts[call.actor.node] = 0
            call.actor.num_free = call.actor.num_workers
            return None
        call.actor.num_free += 1
        return finished

    def _handle_loss(self, call: _Call, cause: str) -> FinishedTask | None:
        """Remove a lost actor; queue its task again, or return it as failed after `MAX_ATTEMPTS`."""
        if call.actor in self._actors:
            logger.warning("step %s lost the workers of machine %s: %s", self._step.name, call.actor.node[:8], cause)
            self._actors.remove(call.actor)
            self._ray.kill(call.actor.handle)
            self._next_query = 0.0
        task = call.task
        if task is None:
            self._num_failed_starts[call.actor.node] += 1
            return None
        self._num_attempts[task.record_key] += 1
        num_attempts = self._num_attempts[task.record_key]
        if num_attempts >= MAX_ATTEMPTS:
            failed = Failed("crashed", f"lost with its machine or worker {num_attempts} times: {cause}")
            return FinishedTask(task, failed, time.monotonic() - call.since)
        # A new work folder, because a machine that is only disconnected may still write into the old one.
        work = task.work.with_name(f"{task.record_key}-{num_attempts + 1}")
        self._waiting.appendleft(replace(task, work=work))
        return None


@dataclass
class _Slot:
    """One worker of an actor. Its executor takes a task from the queue when the next result is requested."""

    tasks: SimpleQueue[Task]
    results: Iterator[FinishedTask] = field(init=False)

    def begin(self, step: Step, executor: LocalExecutor) -> None:
        """Create the executor's iterator; the worker process starts with the first task."""
        self.results = iter(executor.run(step, iter(self.tasks.get, None)))


class RayWorkers:
    """Ray actor with the workers of one machine for one step. A worker loads the step with its first task.

    Args:
        step: the step.
        executor: executor that runs one worker; every worker gets its own log folder.
        num_workers: number of workers, and of threads that may call `run` at a time.
    """

    def __init__(self, step: Step, executor: LocalExecutor, num_workers: int) -> None:
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for index in range(num_workers):
            slot = _Slot(SimpleQueue())
            folder = executor.log_folder / f"worker_{index}"
            slot.begin(step, replace(executor, log_folder=folder, num_workers=1))
            self._free.put(slot)

    def ready(self) -> None:
        """Return when the actor has started."""

    def run(self, task: Task) -> FinishedTask:
        """Run a task on a free worker and return it with its result.

        Raises:
            LatentSyncError: the step cannot be loaded.
        """
        slot = self._free.get()
        slot.tasks.put(task)
        finished = next(slot.results)
        self._free.put(slot)
        return finished
