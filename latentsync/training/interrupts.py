"""SIGTERM and Ctrl-C: the training finishes its step, saves, and leaves."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """Raised out of work that may be cut short (a validation) when a signal arrives."""


class StopRequest:
    """Remembers the signal that asked the training to stop.

    Attributes:
        signal_number: of the first signal; 0: none yet.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._cuts_short = False

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

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the first signal is remembered, a second one does what it always did."""
        self.signal_number = number
        for each in SIGNALS:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        logger.warning(
            "%s: saving a checkpoint before leaving; once more to leave at once", signal.Signals(number).name
        )
        if self._cuts_short:
            raise Interrupted


@contextmanager
def stop_requested() -> Iterator[StopRequest]:
    """Takes SIGTERM and SIGINT over while inside, and gives them back afterwards; off the main thread it cannot."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each in SIGNALS:
        signal.signal(each, request.receive)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
