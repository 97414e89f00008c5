"""Run pipeline stages concurrently, connected by bounded queues."""

from collections.abc import Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
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
        capacity: number of items that the queue between the two stages holds.
        stop: set when the consumer stops; slow work inside the source may poll it.
    """
    queue: Queue[_Item[T] | _Failed | _End] = Queue(capacity)
    stop = stop or Event()
    thread = Thread(target=_produce, args=(source, queue, stop), daemon=True)
    thread.start()
    try:
        while not isinstance(message := queue.get(), _End):
            if isinstance(message, _Failed):
                raise message.error
            yield message.value
            del message
    finally:
        stop.set()
        _drain(queue)
        thread.join()


def _produce(source: Iterator[T], queue: "Queue[_Item[T] | _Failed | _End]", stop: Event) -> None:
    def put(message: "_Item[T] | _Failed | _End") -> bool:
        while not stop.is_set():
            try:
                queue.put(message, timeout=POLL_SECONDS)
                return True
            except Full:
                continue
        return False

    try:
        with closing(source) if isinstance(source, Generator) else nullcontext():
            for value in source:
                if not put(_Item(value)):
                    break
                del value
    except BaseException as error:
        put(_Failed(error))
    else:
        put(_End())


def _drain(queue: Queue) -> None:
    while True:
        try:
            queue.get_nowait()
        except Empty:
            return
