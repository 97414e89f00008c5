"""Run tasks on a Ray cluster whose machines share a file system. Ray is an optional package.

Every machine runs one actor with one worker per core, or one actor per GPU for work that runs a network (see
`ray_pool`). The main process gives each worker one task at a time. If an actor is lost with its machine, its tasks are
run again elsewhere. Machines that join the cluster receive tasks.
"""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from latentsync.errors import InputError
from latentsync.executors.base import FinishedTask, Limits, ResultT, TaskT, WhileWaiting, Work, do_nothing
from latentsync.executors.local import LocalExecutor
from latentsync.executors.ray_pool import RayPool


@dataclass(frozen=True)
class RayExecutor:
    """Executor on a Ray cluster.

    Attributes:
        log_folder: receives one folder per worker with everything it prints; on the shared file system. None: workers
            print into Ray's own logs.
        address: address of the cluster; see `connect`.
        num_workers: maximum number of workers. None: one per GPU of the cluster for work that runs a network; without
            GPUs one per core, or one per machine (`Work.one_per_machine`).
        limits: limits of one task.
    """

    log_folder: Path | None = None
    address: str | None = None
    num_workers: int | None = None
    limits: Limits = field(default_factory=Limits)

    def run(
        self, work: Work[TaskT, ResultT], tasks: Iterable[TaskT], while_waiting: WhileWaiting = do_nothing
    ) -> Iterator[FinishedTask[TaskT, ResultT]]:
        """Yield every task when it finishes; see `Executor`.

        Raises:
            InputError: Ray is not installed, or no cluster answers.
            LatentSyncError: the work cannot be loaded, or no machine can start a worker.
        """
        local = LocalExecutor(self.log_folder, num_workers=1, limits=self.limits)
        pool = RayPool(connect(self.address), work, local, self.num_workers)
        try:
            yield from pool.run(iter(tasks), while_waiting)
        finally:
            pool.kill()


def import_ray() -> ModuleType:
    """Import Ray.

    Raises:
        InputError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise InputError(
            "--executor ray needs Ray, the extra `cluster`: pip install --editable '.[cluster]' in the checkout"
        ) from None
    return ray


def connect(address: str | None) -> ModuleType:
    """Connect to a cluster and return the module `ray`. An existing connection is used unchanged.

    Args:
        address: of the cluster. None: the address in RAY_ADDRESS, else a cluster started on this machine, else a new
            cluster of this machine alone, which ends with this process.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        return ray
    try:
        with _preserve_signal_handlers():
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    except (ConnectionError, ValueError, RuntimeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"no Ray cluster at {address or 'RAY_ADDRESS'} ({first_line}): start one with `ray start --head`"
        ) from error
    return ray


@contextmanager
def _preserve_signal_handlers() -> Iterator[None]:
    """Restore the handlers that Ray replaces by its own, which end the process with a different exit status."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
