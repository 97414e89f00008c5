"""Run programs of the repository in the process of the tests."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def process_as_before() -> Iterator[None]:
    """Puts back what programs change for the whole process: answers to signals, logging, the environment."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    root = logging.getLogger()
    logs, level, environment = list(root.handlers), root.level, dict(os.environ)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        root.handlers[:] = logs
        root.setLevel(level)
        os.environ.clear()
        os.environ.update(environment)
