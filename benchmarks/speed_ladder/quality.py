"""Measure all dubs of all rows that are not stored, in this process or in several."""

import logging
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch

from benchmarks.speed_ladder.ladder import Ladder
from benchmarks.speed_ladder.rows import Row

logger = logging.getLogger(__name__)

Task = tuple[Row, int, int]
"""Row, dub and seed."""


def measure_quality(
    ladder: Ladder, rows: Sequence[Row], num_seeds: int, num_processes: int, row_finished: Callable[[], None]
) -> None:
    """Measure and store what is missing, row by row.

    Args:
        ladder: dubs, weights and stored results.
        rows: the most important first.
        num_seeds: noise seeds of every dub.
        num_processes: processes of one thread each; 1 uses this process.
        row_finished: called when the last value of a row is stored.
    """
    tasks = [(row, index, seed) for row in rows for seed in range(num_seeds) for index in range(len(ladder.dubs))]
    missing = [task for task in tasks if ladder.stored(*task) is None]
    logger.info("quality: %d of %d results are stored", len(tasks) - len(missing), len(tasks))
    left = Counter(row.name for row, _, _ in missing)
    start = time.monotonic()
    for number, (row, index, seed) in enumerate(_completed(ladder, missing, num_processes), start=1):
        minutes = (time.monotonic() - start) / 60
        logger.info(
            *("%d of %d, about %.0f minutes left: %s, dub %d, seed %d", number, len(missing)),
            *(minutes / number * (len(missing) - number), row.name, index, seed),
        )
        left[row.name] -= 1
        if left[row.name] == 0:
            row_finished()


def _completed(ladder: Ladder, tasks: Sequence[Task], num_processes: int) -> Iterator[Task]:
    """Yield each task once its values are stored."""
    if num_processes == 1:
        for task in tasks:
            ladder.measure(*task)
            yield task
        return
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"), _start_worker) as pool:
        futures = {pool.submit(ladder.measure, *task): task for task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the work
    torch.set_num_threads(1)
