"""A Ray cluster of two simulated machines with one core each, of which one can be lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def two_machines() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the address of a cluster, and a function that kills one machine, whose workers have DOOMED set."""
    import ray
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_worker_niceness", "0")  # else a busy machine has no time for its workers
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        doomed = cluster.add_node(num_cpus=1, env_vars={"DOOMED": "1"})
        yield cluster.address, lambda: cluster.remove_node(doomed, allow_graceful=False)
    finally:
        ray.shutdown()
        cluster.shutdown()
        patch.undo()
