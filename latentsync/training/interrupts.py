"""Signals: on Ctrl-C, SIGTERM or SIGHUP the training finishes its step, saves a checkpoint, and exits."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from latentsync.cli import SIGNAL_EXIT_BASE

logger = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
_REPEAT_S = 1.0
"""A terminal and a launcher may both send the first signal: later ones count only after this time."""


class Interrupted(BaseException):
    """A signal arrived during work that may be aborted (a validation)."""


class StopRequest:
    """Record of the signal that asked the training to stop.

    A second signal ends the process immediately, with the exit code of a stop, unless a checkpoint is being written.
    The newest complete checkpoint stays valid.

    Attributes:
        signal_number: number of the first signal; 0: none yet.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._first_time = 0.0
        self._is_abortable = False
        self._is_saving = False

    @contextmanager
    def cutting_short(self) -> Iterator[None]:
        """Return a context that a signal, also one received before, aborts with `Interrupted`."""
        if self.signal_number:
            raise Interrupted
        self._is_abortable = True
        try:
            yield
        finally:
            self._is_abortable = False

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Return a context in which no signal ends the process; after a signal that holds for the rest of the run."""
        self._is_saving = True
        try:
            yield
        finally:
            self._is_saving = self.signal_number != 0

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.signal_number:
            if not self._is_saving and time.monotonic() - self._first_time > _REPEAT_S:
                _exit_immediately(number)
            return
        self.signal_number, self._first_time = number, time.monotonic()
        if self._is_saving:
            logger.warning("%s: exiting when the checkpoint is written", signal.Signals(number).name)
        else:
            logger.warning(
                "%s: saving a checkpoint before exiting; send it again, before saving begins, to exit immediately",
                signal.Signals(number).name,
            )
        if self._is_abortable:
            self._is_abortable = False
            raise Interrupted


@contextmanager
def stop_requested() -> Iterator[StopRequest]:
    """Handle signals in this context and restore the former handlers afterwards; only possible in the main thread.

    A signal that the process ignores from its start (`nohup`, a job in the background) stays ignored.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, request.receive)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _exit_immediately(number: int) -> None:
    """End the process without Python's clean-up, which would abort torch's threads in their work."""
    with suppress(Exception):
        sys.stderr.write("stopped immediately; the same command continues from the newest complete checkpoint\n")
        sys.stderr.flush()
    os._exit(SIGNAL_EXIT_BASE + number)
