"""Signals are remembered, cut short what may be, and given back."""

import os
import signal
import threading

import pytest

from latentsync.training.interrupts import Interrupted, stop_requested


def test_the_first_signal_is_remembered_and_the_second_acts() -> None:
    with stop_requested() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal_number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
