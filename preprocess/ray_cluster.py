"""Connecting to Ray, an optional package: everything that names it is told here whether it is there."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from latentsync.errors import InputError


def import_ray() -> ModuleType:
    """The package.

    Raises:
        InputError: it is not installed.
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
    """Ray, connected to the cluster at ``address``.

    None means what RAY_ADDRESS names, or a cluster that was begun on this machine, or if there is none a new one of
    this machine alone, which ends with this process. A connection that is there is used as it is.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        return ray
    try:
        with _signals_kept():
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    except (ConnectionError, ValueError, RuntimeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"no Ray cluster at {address or 'RAY_ADDRESS'} ({first_line}): begin one with `ray start --head`"
        ) from error
    return ray


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Puts back the handlers that Ray replaces by its own, which end the process with another exit status."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
