"""Actors for one kind of work on a Ray cluster, and the assignment of tasks to their workers.

An actor runs no task itself. It supervises worker processes with `LocalExecutor`, so that time limits, memory limits
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
from latentsync.executors.base import CRASHED, Failed, FinishedTask, WhileWaiting, Work, do_nothing
from latentsync.executors.local import LocalExecutor

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A task fails after it was lost with its actor this often. (A task that kills its worker process fails at once.)"""
MAX_FAILED_STARTS = 3
"""A machine is not used for the rest of the run after this many failed starts of an actor in a row."""
POLL_INTERVAL_S = 5.0
"""Time between two queries of the cluster's machines."""
_WAIT_S = 0.5
"""Longest wait for a reply of an actor."""


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
class _Attempt:
    """An attempt, numbered from 1, to run a task."""

    task: Any
    number: int = 1


@dataclass(frozen=True)
class _Call:
    """A pending call of an actor: of `ready` if `attempt` is None, else of `run`, started at time `since`."""

    actor: _Actor
    attempt: _Attempt | None = None
    since: float = 0.0


class RayPool:
    """Runs tasks. It holds one task per worker, and one more that waits.

    Args:
        ray: the module, connected to a cluster.
        work: the work.
        local: executor that runs one worker on its machine.
        num_workers: maximum number of workers; None: as many as the cluster has room for.
    """

    def __init__(self, ray: Any, work: Work[Any, Any], local: LocalExecutor, num_workers: int | None) -> None:
        self._ray = ray
        self._work = work
        self._local = local
        self._num_workers = num_workers
        self._waiting: deque[_Attempt] = deque()
        self._actors: list[_Actor] = []
        self._calls: dict[Future, _Call] = {}
        """Pending calls."""
        self._completed: SimpleQueue[Future] = SimpleQueue()
        self._num_failed_starts: Counter[str] = Counter()
        self._num_started = 0
        self._next_query = 0.0

    def run(self, tasks: Iterator[Any], while_waiting: WhileWaiting = do_nothing) -> Iterator[FinishedTask[Any, Any]]:
        """Yield every task when it finishes; see `Executor`."""
        while True:
            while_waiting()
            self._assign_tasks(tasks)
            if self._waiting and time.monotonic() >= self._next_query:
                self._start_actors()
                self._next_query = time.monotonic() + POLL_INTERVAL_S
            if not self._waiting and all(call.attempt is None for call in self._calls.values()):
                return
            if not self._calls:
                logger.warning("the Ray cluster has no machine for %s: waiting for one", self._work.title)
                time.sleep(POLL_INTERVAL_S)
                continue
            try:
                # Not ray.wait: an exception that a signal handler raises in there is lost.
                future = self._completed.get(timeout=_WAIT_S)
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

    def _assign_tasks(self, tasks: Iterator[Any]) -> None:
        """Give every free worker a task. One more task is fetched, which shows that more workers would help."""
        while self._waiting or self._fetch(tasks):
            actor = next((actor for actor in self._actors if actor.num_free > 0), None)
            if actor is None:
                return
            attempt = self._waiting.popleft()
            actor.num_free -= 1
            call = _Call(actor, attempt, time.monotonic())
            self._register(actor.handle.run.remote(self._task_of(attempt)), call)

    def _task_of(self, attempt: _Attempt) -> Any:
        return attempt.task if attempt.number == 1 else self._work.retried(attempt.task, attempt.number)

    def _fetch(self, tasks: Iterator[Any]) -> bool:
        task = next(tasks, None)
        if task is not None:
            self._waiting.append(_Attempt(task))
        return task is not None

    def _start_actors(self) -> None:
        """Start actors on every machine with room for workers, up to the maximum number of workers."""
        num_left = None if self._num_workers is None else self._num_workers - self._count_workers()
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        usable = [node for node in nodes if self._num_failed_starts[node["NodeID"]] < MAX_FAILED_STARTS]
        if nodes and not usable and not self._actors:
            raise LatentSyncError(
                f"{self._work.title}: Ray cannot start a worker on any machine; see the warnings above, and Ray's own "
                "logs"
            )
        with_gpus = self._work.uses_device and any(node["Resources"].get("GPU", 0) >= 1 for node in usable)
        one_per_machine = self._work.one_per_machine and not with_gpus and self._num_workers is None
        for node in usable:
            name, num_cores = node["NodeID"], int(node["Resources"]["CPU"])
            room = int(node["Resources"].get("GPU", 0)) if with_gpus else 1 if one_per_machine else num_cores
            room -= sum(actor.num_workers for actor in self._actors if actor.node == name)
            room = room if num_left is None else min(room, num_left)
            if room <= 0:
                continue
            if with_gpus:
                for _ in range(room):
                    self._start(name, num_workers=1, num_cores=1, num_gpus=1)
            else:
                self._start(name, num_workers=room, num_cores=num_cores if one_per_machine else room)
            num_left = None if num_left is None else num_left - room

    def _count_workers(self) -> int:
        return sum(actor.num_workers for actor in self._actors)

    def _start(self, node: str, num_workers: int, num_cores: int, num_gpus: int = 0) -> None:
        """Start an actor whose workers share the cores equally."""
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        remote = self._ray.remote(RayWorkers).options(
            num_cpus=num_cores,
            num_gpus=num_gpus,
            max_restarts=0,
            max_concurrency=num_workers + 1,
            scheduling_strategy=strategy,
        )
        folder = self._local.log_folder and self._local.log_folder / f"actor_{self._num_started}"
        local = replace(self._local, log_folder=folder, num_threads=num_cores // num_workers)
        self._num_started += 1
        actor = _Actor(remote.remote(self._work, local, num_workers), node, num_workers)
        self._actors.append(actor)
        self._register(actor.handle.ready.remote(), _Call(actor))

    def _register(self, reference: Any, call: _Call) -> None:
        future = reference.future()
        self._calls[future] = call
        future.add_done_callback(self._completed.put)

    def _handle_reply(self, future: Future, call: _Call) -> FinishedTask[Any, Any] | None:
        """Process the reply of an actor: it has started, finished a task, or is lost. Return a finished task."""
        try:
            finished = future.result()
        except self._ray.exceptions.RayTaskError as error:  # raised by the method itself: the work cannot be loaded
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            return self._handle_loss(call, (str(error).strip().splitlines() or [type(error).__name__])[0])
        if call.attempt is None:
            self._num_failed_starts[call.actor.node] = 0
            call.actor.num_free = call.actor.num_workers
            return None
        call.actor.num_free += 1
        return finished

    def _handle_loss(self, call: _Call, cause: str) -> FinishedTask[Any, Any] | None:
        """Remove a lost actor; queue its task again, or return it as failed after `MAX_ATTEMPTS`."""
        if call.actor in self._actors:
            logger.warning("%s lost the workers of machine %s: %s", self._work.title, call.actor.node[:8], cause)
            self._actors.remove(call.actor)
            self._ray.kill(call.actor.handle)
            self._next_query = 0.0
        attempt = call.attempt
        if attempt is None:
            self._num_failed_starts[call.actor.node] += 1
            return None
        if attempt.number >= MAX_ATTEMPTS:
            failed = Failed(CRASHED, f"lost with its machine or worker {attempt.number} times: {cause}")
            return FinishedTask(self._task_of(attempt), failed, time.monotonic() - call.since)
        self._waiting.appendleft(replace(attempt, number=attempt.number + 1))
        return None


@dataclass
class _Slot:
    """One worker of an actor. Its executor takes a task from the queue when the next result is requested."""

    tasks: SimpleQueue[Any]
    results: Iterator[FinishedTask[Any, Any]] = field(init=False)

    def begin(self, work: Work[Any, Any], executor: LocalExecutor) -> None:
        """Create the executor's iterator; the worker process starts with the first task."""
        self.results = iter(executor.run(work, iter(self.tasks.get, None)))


class RayWorkers:
    """Ray actor with the workers of one machine. A worker loads the work with its first task.

    Args:
        work: the work.
        executor: executor that runs one worker; every worker gets its own log folder.
        num_workers: number of workers, and of threads that may call `run` at a time.
    """

    def __init__(self, work: Work[Any, Any], executor: LocalExecutor, num_workers: int) -> None:
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for index in range(num_workers):
            slot = _Slot(SimpleQueue())
            folder = executor.log_folder and executor.log_folder / f"worker_{index}"
            slot.begin(work, replace(executor, log_folder=folder, num_workers=1))
            self._free.put(slot)

    def ready(self) -> None:
        """Return when the actor has started."""

    def run(self, task: Any) -> FinishedTask[Any, Any]:
        """Run a task on a free worker and return it with its result.

        Raises:
            LatentSyncError: the work cannot be loaded.
        """
        slot = self._free.get()
        slot.tasks.put(task)
        finished = next(slot.results)
        self._free.put(slot)
        return finished
