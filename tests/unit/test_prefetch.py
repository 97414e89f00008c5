import threading
import time
from collections.abc import Iterator

import pytest

from latentsync.prefetch import prefetch


def test_items_arrive_in_order_through_two_stages():
    assert list(prefetch(prefetch(iter(range(100)), 3), 2)) == list(range(100))


def test_an_error_of_the_source_reaches_the_consumer():
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk on fire")

    items = prefetch(source(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(items)


def test_the_source_runs_at_most_capacity_items_ahead():
    produced = 0

    def source() -> Iterator[int]:
        nonlocal produced
        for i in range(100):
            produced += 1
            yield i

    items = prefetch(source(), 3)
    next(items)
    time.sleep(0.3)
    assert produced == 1 + 3
    items.close()


def test_stopping_early_closes_the_source_and_leaves_no_thread():
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    items = prefetch(prefetch(source(), 2), 2)
    assert next(items) == 0
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before
