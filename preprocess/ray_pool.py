"""The actors of one step on a Ray cluster, and which job each of their workers is at."""

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

from latentsync.errors import LatentSyncError
from preprocess.executor import Finished, Job
from preprocess.local_executor import LocalExecutor
from preprocess.ray_worker import RayWorkers
from preprocess.step import Step
from preprocess.worker import failed

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""A job whose actor was lost so often fails. (One that only kills its own worker process fails at once.)"""
MAX_FAILED_STARTS = 3
"""A machine on which so many actors in a row did not start is left alone for the rest of the step."""
LOOK_EVERY_S = 5.0
"""How often the cluster is asked for its machines."""


@dataclass
class _Actor:
    """An actor.

    Attributes:
        handle: Ray's.
        node: the id of its machine.
        num_workers: in it.
        num_free: of those, the ones without a job; none before it has started.
    """

    handle: Any
    node: str
    num_workers: int
    num_free: int = 0


@dataclass(frozen=True)
class _Call:
    """What an actor was asked: to start, or to run a job since then."""

    actor: _Actor
    job: Job | None = None
    since: float = 0.0


class RayPool:
    """Runs the jobs of one step; holds no more of them than there are workers, and one that waits.

    Args:
        ray: the connected package.
        step: the step.
        local: how a worker is to be run on its machine.
        num_workers: how many at most; None: what the cluster has.
    """

    def __init__(self, ray: Any, step: Step, local: LocalExecutor, num_workers: int | None) -> None:
        self._ray = ray
        self._step = step
        self._local = local
        self._num_workers = num_workers
        self._waiting: deque[Job] = deque()
        self._actors: list[_Actor] = []
        self._calls: dict[Future, _Call] = {}
        """What was asked and is not answered."""
        self._answered: SimpleQueue[Future] = SimpleQueue()
        self._num_attempts: Counter[str] = Counter()
        self._num_failed_starts: Counter[str] = Counter()
        self._num_started = 0
        self._next_look = 0.0

    def run(self, source: Iterator[Job]) -> Iterator[Finished]:
        """Every job's end, as they end."""
        while True:
            self._hand_out(source)
            if self._waiting and time.monotonic() >= self._next_look:
                self._start_actors()
                self._next_look = time.monotonic() + LOOK_EVERY_S
            if not self._waiting and all(call.job is None for call in self._calls.values()):
                return
            if not self._calls:
                logger.warning("the Ray cluster has no machine for step %s: waiting for one", self._step.name)
                time.sleep(LOOK_EVERY_S)
                continue
            try:
                # Not in ray.wait: what a signal's handler raises in there is lost.
                future = self._answered.get(timeout=LOOK_EVERY_S)
            except Empty:
                continue
            finished = self._answer(future, self._calls.pop(future))
            if finished is not None:
                yield finished

    def kill(self) -> None:
        """Ends all actors, and the workers in them."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors, self._calls = [], {}

    def _hand_out(self, source: Iterator[Job]) -> None:
        """A job for every free worker, and one to wait, which says that more workers are of use."""
        while self._waiting or self._fetch(source):
            actor = next((actor for actor in self._actors if actor.num_free > 0), None)
            if actor is None:
                return
            job = self._waiting.popleft()
            actor.num_free -= 1
            self._ask(actor.handle.run.remote(job), _Call(actor, job, time.monotonic()))

    def _fetch(self, source: Iterator[Job]) -> bool:
        job = next(source, None)
        if job is not None:
            self._waiting.append(job)
        return job is not None

    def _start_actors(self) -> None:
        """Asks for actors on every machine that has room for workers, up to the number wanted."""
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
        self._ask(actor.handle.ready.remote(), _Call(actor))

    def _ask(self, reference: Any, call: _Call) -> None:
        future = reference.future()
        self._calls[future] = call
        future.add_done_callback(self._answered.put)

    def _answer(self, future: Future, call: _Call) -> Finished | None:
        """What an actor has to say: that it has started, or finished a job; or that it is lost."""
        try:
            finished = future.result()
        except self._ray.exceptions.RayTaskError as error:  # what the method raised: the step cannot be loaded
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            return self._mourn(call, (str(error).strip().splitlines() or [type(error).__name__])[0])
        if call.job is None:
            self._num_failed_starts[call.actor.node] = 0
            call.actor.num_free = call.actor.num_workers
            return None
        call.actor.num_free += 1
        return finished

    def _mourn(self, call: _Call, reason: str) -> Finished | None:
        """Does without an actor; its job waits for another one, or fails."""
        if call.actor in self._actors:
            logger.warning("step %s lost the workers of machine %s: %s", self._step.name, call.actor.node[:8], reason)
            self._actors.remove(call.actor)
            self._ray.kill(call.actor.handle)
            self._next_look = 0.0
        job = call.job
        if job is None:
            self._num_failed_starts[call.actor.node] += 1
            return None
        self._num_attempts[job.record_key] += 1
        num_attempts = self._num_attempts[job.record_key]
        if num_attempts >= MAX_ATTEMPTS:
            detail = f"lost with its machine or worker {num_attempts} times: {reason}"
            return failed(job, "crashed", detail, time.monotonic() - call.since)
        # Another folder, since a machine that was only cut off may still write into the old one.
        work = job.work.with_name(f"{job.record_key}-{num_attempts + 1}")
        self._waiting.appendleft(replace(job, work=work))
        return None
