"""Shared by all commands: argument parser, exit codes, one-line error messages and signal handling."""

import argparse
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from latentsync.errors import LatentSyncError

EXIT_SOME_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_UNEXPECTED = 70
"""An unexpected error, which is a fault of the program and not of its input (EX_SOFTWARE of sysexits.h)."""
SIGNAL_EXIT_BASE = 128
"""A command that a signal stopped exits with this plus the number of the signal, as shells report it."""

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PATIENCE_S = 5.0
"""Further signals are ignored for this long after the first one, so that cleanup can finish."""


_AFTER_DESTRUCTOR_S = 0.05
"""Time until a signal that arrived in a destructor is sent again."""


class Stopped(KeyboardInterrupt):
    """Raised by the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (terminal closed).

    Attributes:
        exit_code: 128 + number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = SIGNAL_EXIT_BASE + number


class OneLineParser(argparse.ArgumentParser):
    """Argument parser whose error message is one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message in one line and exit with status 2."""
        self.exit(EXIT_BAD_INPUT, f"error: {' '.join(message.split())} (see --help)\n")


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], None]]:
    """Raise `Stopped` in the main thread on the first SIGINT, SIGTERM or SIGHUP.

    Later signals are ignored for five seconds, so that the run can clean up; after that, the next one ends the process
    immediately. A signal that the process ignores from its start (`nohup`, a background job) stays ignored.

    Yields:
        A function to call if the work has handled the first signal itself; every later signal then counts as a repeated
        one.
    """
    first_at: list[float] = []

    def count_as_stopped() -> None:
        first_at.append(time.monotonic())

    if threading.current_thread() is not threading.main_thread():
        yield count_as_stopped
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if not first_at and _is_in_destructor(frame):
            threading.Timer(_AFTER_DESTRUCTOR_S, _send_to_main_thread, [number]).start()
        elif not first_at:
            count_as_stopped()
            raise Stopped(number)
        elif time.monotonic() - first_at[0] > _PATIENCE_S:
            os._exit(SIGNAL_EXIT_BASE + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, receive)
    try:
        yield count_as_stopped
    finally:
        for number, handler in before.items():
            # After a stop, signals stay ignored: torch's threads still run while the interpreter shuts down.
            signal.signal(number, signal.SIG_IGN if first_at else handler)


def _is_in_destructor(frame: FrameType | None) -> bool:
    """Return True if a `__del__` is being executed: Python prints and drops an exception that is raised there."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _send_to_main_thread(number: int) -> None:
    """Send a signal to the main thread, whose waiting system call it interrupts where the system can do that."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)


def run_command(work: Callable[[], int], debug: bool = False, when_stopped: str = "nothing was written") -> int:
    """Run a command and turn errors and signals into one line on stderr and an exit code.

    Args:
        work: function that returns the exit code. A code above 128 means that it has handled a signal itself.
        debug: raise errors with their traceback instead.
        when_stopped: message after a signal, such as what was written or how to resume.

    Returns:
        The exit code of `work`; 2 after an error that the user can correct (`LatentSyncError`, OSError, out of device
        memory); 128 + signal number after a signal; 70 after an unexpected error.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # file names may contain undecodable bytes
    try:
        with stopping_on_signals() as count_as_stopped:
            exit_code = work()
            if exit_code > SIGNAL_EXIT_BASE:
                count_as_stopped()
            return exit_code
    except Stopped as stopped:
        _print_line(f"stopped; {when_stopped}")
        return stopped.exit_code
    except KeyboardInterrupt:  # the handler is not installed outside the main thread
        _print_line(f"stopped; {when_stopped}")
        return SIGNAL_EXIT_BASE + signal.SIGINT
    except Exception as error:
        if debug:
            raise
        if isinstance(error, LatentSyncError | OSError) or _is_out_of_device_memory(error):
            _print_line(f"error: {one_line(error)}")
            return EXIT_BAD_INPUT
        _print_line(
            f"error: unexpected {type(error).__name__}: {one_line(error)}: this is a fault of the program, please "
            "report it with what --debug shows"
        )
        return EXIT_UNEXPECTED


def one_line(error: BaseException) -> str:
    """Return an error's message in one line.

    An OSError becomes "file: reason", without its number. An error without a message becomes the name of its type.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        named = error.filename if error.filename2 is None else error.filename2
        text = error.strerror if named is None else f"{named}: {error.strerror}"
    return " ".join(text.split()) or type(error).__name__


def _is_out_of_device_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # not imported here: that takes more than a second, and some commands do without
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _print_line(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(text, file=sys.stderr, flush=True)
