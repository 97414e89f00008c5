"""Signals are recorded and abort a validation but not a save; former handlers are restored."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from latentsync.training.interrupts import Interrupted, stop_requested

_SIGNALLED = """
import os, signal, sys
from latentsync.training import interrupts
interrupts._REPEAT_S = 0.0
number = int(sys.argv[1])
with interrupts.stop_requested() as request:
    with request.saving():
        print("saved", flush=True)
    os.kill(os.getpid(), number)
    if sys.argv[2] == "during":
        with request.saving():
            for _ in range(20):
                os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    print("exits normally")
"""


@pytest.mark.parametrize(("name", "when"), [("SIGINT", "before"), ("SIGHUP", "during")])
def test_a_second_signal_exits_immediately_except_during_or_after_the_save(name: str, when: str) -> None:
    number = signal.Signals[name]
    command = [sys.executable, "-c", _SIGNALLED, str(int(number)), when]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    if when == "during":
        assert (done.returncode, done.stdout) == (0, "saved\nexits normally\n")
    else:
        assert (done.returncode, done.stdout) == (128 + number, "saved\n")
        assert done.stderr.splitlines()[-1].startswith("stopped immediately; the same command continues")


def test_signals_right_after_the_first_one_are_ignored() -> None:
    with stop_requested() as request:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal_number == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_requested() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.signal_number == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_work_is_cut_short() -> None:
    with stop_requested() as request:
        with pytest.raises(Interrupted), request.cutting_short():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), request.cutting_short():
            raise AssertionError("begins after the signal")


def test_off_the_main_thread_nothing_is_taken_over() -> None:
    handlers = list[object]()

    def work() -> None:
        with stop_requested():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
