"""Ctrl-C, SIGTERM and SIGHUP: the training finishes its step, saves, and leaves."""

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
_PATIENCE_S = 1.0
"""A terminal and a launcher may both send the first signal: what comes so soon after it is the same wish."""


class Interrupted(BaseException):
    """Raised out of work that may be cut short (a validation) when a signal arrives."""


class StopRequest:
    """Remembers the signal that asked the training to stop.

    A later one ends the process on the spot, with the exit code of a stop, unless a checkpoint is being written. What
    is on the disk then is whole: the newest checkpoint before.

    Attributes:
        signal_number: of the first signal; 0: none yet.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._first_at = 0.0
        self._cuts_short = False
        self._saves = False

    @contextmanager
    def cutting_short(self) -> Iterator[None]:
        """A signal that arrives (or has arrived) while inside ends the block with `Interrupted`."""
        if self.signal_number:
            raise Interrupted
        self._cuts_short = True
        try:
            yield
        finally:
            self._cuts_short = False

    @contextmanager
    def saving(self) -> Iterator[None]:
        """No signal ends the process while inside, nor afterwards if one has come: the training then leaves anyway."""
        self._saves = True
        try:
            yield
        finally:
            self._saves = self.signal_number != 0

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.signal_number:
            if not self._saves and time.monotonic() - self._first_at > _PATIENCE_S:
                _leave_at_once(number)
            return
        self.signal_number, self._first_at = number, time.monotonic()
        if self._saves:
            logger.warning("%s: leaving when the checkpoint is written", signal.Signals(number).name)
        else:
            logger.warning(
                "%s: saving a checkpoint before leaving; once more, until it is being written, to leave at once",
                signal.Signals(number).name,
            )
        if self._cuts_short:
            self._cuts_short = False
            raise Interrupted


@contextmanager
def stop_requested() -> Iterator[StopRequest]:
    """Takes the signals over while inside, and gives them back afterwards; off the main thread it cannot.

    Whatever ignores a signal from its start (`nohup`, a job in the background) goes on ignoring it.
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


def _leave_at_once(number: int) -> None:
    """Ends the process without its usual end, in which threads of torch would be cut off in their work."""
    with suppress(Exception):
        sys.stderr.write("stopped at once; the same command continues from the newest whole checkpoint\n")
        sys.stderr.flush()
    os._exit(SIGNAL_EXIT_BASE + number)
