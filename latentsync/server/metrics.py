"""Numbers about the service in the text format of Prometheus."""

import threading
from collections import Counter
from collections.abc import Mapping

from latentsync.jobs.job import Job, JobState
from latentsync.jobs.store import JobStore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts what this process has done; the jobs on disk are counted by the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._stage_seconds: dict[str, float] = {}

    def add(self, job: Job) -> None:
        """Count a job that has ended."""
        with self._lock:
            self._ended[job.state.value] += 1
            for stage, seconds in job.stage_seconds.items():
                self._stage_seconds[stage] = self._stage_seconds.get(stage, 0.0) + seconds

    def text(self, store: JobStore, queue_length: int) -> str:
        """Return all metrics.

        Args:
            store: the jobs on disk.
            queue_length: jobs that wait or run.
        """
        counts = store.counts()
        with self._lock:
            ended, stages = dict(self._ended), dict(self._stage_seconds)
        states = {state.value: counts.get(state, 0) for state in JobState}
        over = {state.value: ended.get(state.value, 0) for state in JobState if state.is_over}
        return "".join(
            (
                _metric("jobs", "gauge", "Jobs on disk by state.", "state", states),
                _metric("jobs_ended_total", "counter", "Jobs that ended since the start.", "state", over),
                _metric("stage_seconds_total", "counter", "Time of jobs by stage.", "stage", stages),
                f"# HELP latentsync_queue_length Jobs that wait or run.\n# TYPE latentsync_queue_length gauge\n"
                f"latentsync_queue_length {queue_length}\n",
            )
        )


def _metric(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> str:
    name = f"latentsync_{name}"
    lines = [f'{name}{{{label}="{key}"}} {value:g}' for key, value in sorted(values.items())]
    return "\n".join([f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines]) + "\n"
