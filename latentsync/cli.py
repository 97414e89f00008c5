"""What all commands share: options told wrong in one line, signals, exit codes, errors in one line."""

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

import torch

from latentsync.errors import LatentSyncError

EXIT_SOME_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_UNEXPECTED = 70
"""An error that nobody foresaw: a fault of the program, not of what it was given."""
EXIT_OF_SIGNALS = 128
"""To this the number of the signal is added that ended a run."""

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PATIENCE_S = 5.0
"""For so long after the first signal further ones are ignored, because cleaning up must not be cut short."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, a polite kill, or a terminal that went away.

    Attributes:
        exit_code: what a shell expects then.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = EXIT_OF_SIGNALS + number


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message and leaves."""
        self.exit(EXIT_BAD_INPUT, f"error: {' '.join(message.split())} (see --help)\n")


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], None]]:
    """Lets the first Ctrl-C, SIGTERM or SIGHUP raise `Stopped` in the main thread.

    Gives a function for work that has answered the first signal by itself: what comes after it counts as a further one.

    Further ones are ignored while the run cleans up; after five seconds one more ends the process on the spot. Whatever
    ignores a signal from its start (`nohup`, a job in the background) goes on ignoring it.
    """
    first_at: list[float] = []

    def count_as_stopped() -> None:
        first_at.append(time.monotonic())

    if threading.current_thread() is not threading.main_thread():
        yield count_as_stopped
        return

    def receive(number: int, frame: FrameType | None) -> None:
        if not first_at:
            count_as_stopped()
            raise Stopped(number)
        if time.monotonic() - first_at[0] > _PATIENCE_S:
            os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, receive)
    try:
        yield count_as_stopped
    finally:
        for number, handler in before.items():
            # After a stop nothing may interrupt the end of the interpreter, in which threads of torch still run.
            signal.signal(number, signal.SIG_IGN if first_at else handler)


def run_command(work: Callable[[], int], debug: bool = False, when_stopped: str = "nothing was written") -> int:
    """Runs a command's work; whatever goes wrong is told in one line on the error stream.

    Args:
        work: gives the exit code; one above 128 where it has answered a signal by itself.
        debug: errors are raised instead.
        when_stopped: what is true after Ctrl-C.

    Returns:
        The exit code: that of the work; 2 for an error that names what to change; 128 and the signal's number after a
        stop; 70 for an error of the program itself.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        with stopping_on_signals() as count_as_stopped:
            exit_code = work()
            if exit_code > EXIT_OF_SIGNALS:
                count_as_stopped()
            return exit_code
    except Stopped as stopped:
        _say(f"stopped; {when_stopped}")
        return stopped.exit_code
    except KeyboardInterrupt:  # where signals are not taken over, such as off the main thread
        _say(f"stopped; {when_stopped}")
        return 128 + signal.SIGINT
    except (LatentSyncError, OSError, torch.OutOfMemoryError) as error:
        if debug:
            raise
        _say(f"error: {one_line(error)}")
        return EXIT_BAD_INPUT
    except Exception as error:
        if debug:
            raise
        _say(
            f"error: unexpected {type(error).__name__}: {one_line(error)}: this is a fault of the program, please "
            "report it with what --debug shows"
        )
        return EXIT_UNEXPECTED


def one_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing. Of a system error the file and the words."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        named = error.filename if error.filename2 is None else error.filename2
        text = error.strerror if named is None else f"{named}: {error.strerror}"
    return " ".join(text.split()) or type(error).__name__


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(text, file=sys.stderr, flush=True)
