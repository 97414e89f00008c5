"""Run pipeline stages concurrently, connected by bounded queues."""

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.1


class _End:
    """The source is exhausted."""


@dataclass
class _Failed:
    error: BaseException


@dataclass
class _Item(Generic[T]):
    value: T


def prefetch(source: Iterator[T], capacity: int, stop: Event | None = None) -> Generator[T, None, None]:
    """Iterate over `source` in a new thread and yield its items in order.

    An error in the source is raised in the consumer. If the consumer stops early, the source is closed in its own
    thread and the thread is joined before this generator ends.

    Args:
        source: iterated, and closed if it is a generator, in the new thread only.
        capacity: number of items that may wait for the consumer, with the one being made.
        stop: set when the consumer stops; slow work inside the source may poll it.
    """
    queue: Queue[_Item[T] | _Failed | _End] = Queue()
    slots = Semaphore(capacity)
    stop = stop or Event()
    thread = Thread(target=_produce, args=(source, queue, slots, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(message := queue.get(), _End):
            if isinstance(message, _Failed):
                raise message.error
            slots.release()
            yield message.value
            del message
    finally:
        stop.set()
        _drain(queue)
        thread.join()


def _produce(source: Iterator[T], queue: "Queue[_Item[T] | _Failed | _End]", slots: Semaphore, stop: Event) -> None:
    try:
        with closing(source) if isinstance(source, Generator) else nullcontext():
            while _has_slot(slots, stop):
                try:
                    queue.put(_Item(next(source)))
                except StopIteration:
                    break
    except BaseException as error:
        queue.put(_Failed(error))
    else:
        queue.put(_End())


def _has_slot(slots: Semaphore, stop: Event) -> bool:
    """Wait for a free slot; False if the consumer stopped first."""
    while not stop.is_set():
        if slots.acquire(timeout=POLL_SECONDS):
            return True
    return False


def _drain(queue: Queue) -> None:
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
