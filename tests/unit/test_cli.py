"""Every error is one line, and a signal ends a command after its cleanup."""

import signal
import subprocess
import sys
import time

import pytest

from latentsync.cli import (
    EXIT_BAD_INPUT,
    EXIT_UNEXPECTED,
    OneLineParser,
    Stopped,
    one_line,
    run_command,
    stopping_on_signals,
)
from latentsync.errors import InputError

_WORK = """
import sys, time
from latentsync.cli import run_command
def work():
    try:
        print("began", flush=True)
        time.sleep(60)
    finally:
        time.sleep(0.5)
        print("cleaned", flush=True)
sys.exit(run_command(work, when_stopped="the same command goes on"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 8])
def test_signals_end_a_run_in_order_however_many_come(number: signal.Signals, times: int):
    with subprocess.Popen(
        [sys.executable, "-c", _WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.02)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + number, "cleaned\n", "stopped; the same command goes on\n")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("a file\nis missing"), EXIT_BAD_INPUT, "error: a file is missing\n"),
        (OSError(28, "No space left on device"), EXIT_BAD_INPUT, "error: No space left on device\n"),
        (KeyError("x"), EXIT_UNEXPECTED, "error: unexpected KeyError: 'x': this is a fault of the program"),
    ],
)
def test_every_error_is_one_line(error: Exception, status: int, line: str, capsys: pytest.CaptureFixture[str]):
    def work() -> int:
        raise error

    assert run_command(work) == status
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    with pytest.raises(type(error)):
        run_command(work, debug=True)


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        OneLineParser().parse_args(["--two\nlines"])
    assert left.value.code == EXIT_BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "a.mp4"), "a.mp4: No space left on device"),
        (OSError(5, "Input/output error", "a", None, "b"), "b: Input/output error"),
        (OSError(30, "Read-only file system"), "Read-only file system"),
        (OSError("odd"), "odd"),
        (InputError("two\nlines"), "two lines"),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_are_told_without_numbers_of_the_system(error: Exception, line: str):
    assert one_line(error) == line


def test_a_signal_in_a_destructor_is_not_lost(capsys: pytest.CaptureFixture[str]):
    class Holder:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work() -> None:
        with stopping_on_signals():
            holder = Holder()
            del holder
            time.sleep(30)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(Stopped):
        work()
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)  # after a stop they are ignored
    assert "Traceback" not in capsys.readouterr().err
