"""Runs steps on a Ray cluster whose machines share a file system.

On every machine lives one actor with a worker for each core (see `ray_worker`), or where a step runs a network, one
actor for each GPU. The driver hands every worker one job at a time. When an actor is lost with its machine, its jobs go
to others; machines that join are put to work.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.executor import Finished, Job
from preprocess.local_executor import LocalExecutor
from preprocess.ray_cluster import connect
from preprocess.ray_pool import RayPool
from preprocess.step import Step


@dataclass(frozen=True)
class RayExecutor:
    """Workers on a cluster.

    Attributes:
        log_folder: takes what workers print, a folder each; on the shared file system.
        address: of the cluster; see `ray_cluster.connect`.
        num_workers: how many at most; None: one a core of the cluster, or one a GPU for steps that use one.
        clip_timeout_s, memory_limit_gb: as in `LocalExecutor`.
    """

    log_folder: Path
    address: str | None = None
    num_workers: int | None = None
    clip_timeout_s: float = 1800.0
    memory_limit_gb: float | None = None

    def run(self, step: Step, jobs: Iterable[Job]) -> Iterator[Finished]:
        """See `Executor`.

        Raises:
            InputError: Ray is not installed, or there is no cluster.
            LatentSyncError: the step cannot be loaded, or no machine can start a worker.
        """
        local = LocalExecutor(
            log_folder=self.log_folder,
            num_workers=1,
            clip_timeout_s=self.clip_timeout_s,
            memory_limit_gb=self.memory_limit_gb,
            num_threads=1,  # as Ray counts: a worker is a core, with or without a GPU
        )
        pool = RayPool(connect(self.address), step, local, self.num_workers)
        try:
            yield from pool.run(iter(jobs))
        finally:
            pool.kill()
