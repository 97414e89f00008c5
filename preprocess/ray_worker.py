"""What runs inside a Ray actor: the workers of one machine, so that limits and deaths mean the same as without Ray.

The actor itself runs no step. It supervises worker processes by `LocalExecutor`, which ends what hangs or eats memory
together with its tools. Ray decides nothing but where the actor lives, and tells when it is gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

from preprocess.executor import Finished, Job
from preprocess.local_executor import LocalExecutor
from preprocess.step import Step


@dataclass
class _Slot:
    """One worker: its executor takes a job from the queue whenever it is asked for an end."""

    jobs: SimpleQueue[Job]
    ends: Iterator[Finished] = field(init=False)

    def begin(self, step: Step, executor: LocalExecutor) -> None:
        """Makes it ready; the worker starts with the first job."""
        self.ends = iter(executor.run(step, iter(self.jobs.get, None)))


class RayWorkers:
    """Workers for one step; each loads the step with its first job, and keeps it.

    Args:
        step: the step.
        executor: how a worker is to be run; its logs go into a folder for each worker.
        num_workers: how many, and how many threads may call `run` at a time.
    """

    def __init__(self, step: Step, executor: LocalExecutor, num_workers: int) -> None:
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for index in range(num_workers):
            slot = _Slot(SimpleQueue())
            folder = executor.log_folder / f"worker_{index}"
            slot.begin(step, replace(executor, log_folder=folder, num_workers=1))
            self._free.put(slot)

    def ready(self) -> None:
        """Returns once the actor lives."""

    def run(self, job: Job) -> Finished:
        """The end of a job.

        Raises:
            LatentSyncError: the step cannot be loaded.
        """
        slot = self._free.get()
        slot.jobs.put(job)
        finished = next(slot.ends)
        self._free.put(slot)
        return finished
