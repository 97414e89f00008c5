"""Processor time of the rows, each beside the reference's: measured alternately on one dub, the best of several."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.speed_ladder.ladder import Ladder
from benchmarks.speed_ladder.rows import Row
from benchmarks.speed_ladder.stages import STAGES, StageTimes
from eval.stored_results import ResultStore

logger = logging.getLogger(__name__)

NUM_REPEATS = 3


@dataclass(frozen=True)
class RowTime:
    """Time of one dub with a row.

    Attributes:
        seconds: by stage.
        reference_s: of the reference in all stages, measured in turn with the row.
        num_evaluations: of the U-Net per window.
    """

    seconds: dict[str, float]
    reference_s: float
    num_evaluations: float

    @property
    def ratio(self) -> float:
        """Time of all stages over the reference's."""
        return sum(self.seconds.values()) / self.reference_s


def stored_times(ladder: Ladder, rows: Sequence[Row]) -> dict[str, RowTime]:
    """Return the stored times by the row's name."""
    found = {row.name: _store(ladder).read(ladder.time_key(row)) for row in rows}
    return {name: RowTime(**content) for name, content in found.items() if content is not None}


def measure_times(ladder: Ladder, rows: Sequence[Row], reference: Row, num_repeats: int = NUM_REPEATS) -> None:
    """Measure rows in turn with the reference, and store their times."""
    best: dict[str, StageTimes] = {}
    every = [reference, *(row for row in rows if row.name != reference.name)]
    for repeat in range(num_repeats):
        for row in every:
            times = ladder.time(row)
            if repeat == 0 or _total(times) < _total(best[row.name]):
                best[row.name] = times
        logger.info("time: %d of %d repeats", repeat + 1, num_repeats)
    for row in every:
        times = best[row.name]
        content = {
            "seconds": {stage: times.seconds[stage] for stage in STAGES},
            "reference_s": _total(best[reference.name]),
            "num_evaluations": times.num_evaluations / times.num_windows,
        }
        _store(ladder).write(ladder.time_key(row), content)


def _total(times: StageTimes) -> float:
    return sum(times.seconds.values())


def _store(ladder: Ladder) -> ResultStore:
    return ResultStore(ladder.out / "times")
