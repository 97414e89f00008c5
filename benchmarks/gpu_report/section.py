"""What a section of the report is made of, and what comes of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.gpu_report.sizes import Sizes

MEASURED, FAILED, NOT_MEASURED = "measured", "failed", "not measured"

Values = Mapping[str, Any]
"""Figures of a case by column."""


@dataclass(frozen=True)
class Setup:
    """What all sections have in common."""

    sizes: Sizes
    device: torch.device


@dataclass(frozen=True)
class Case:
    """One row of a section.

    Attributes:
        name: the row's first cell.
        run: measures it; any exception makes the case a failed one.
    """

    name: str
    run: Callable[[], Values]


@dataclass(frozen=True)
class Section:
    """One table of the report.

    Attributes:
        name: on the command line.
        title: heading.
        note: what the columns mean, for a reader of the table.
        share: of the time budget, relative to the other sections.
        cases: makes the rows; cheap, the work is in their `run`.
    """

    name: str
    title: str
    note: str
    share: float
    cases: Callable[[Setup], Iterator[Case]]


@dataclass(frozen=True)
class Row:
    """What came of a case.

    Attributes:
        case: its name.
        status: `MEASURED`, `FAILED` or `NOT_MEASURED`.
        values: figures by column.
        reason: one line; why there are no figures.
    """

    case: str
    status: str
    values: Values = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SectionResult:
    """All rows of a section and how long they took."""

    section: Section
    rows: list[Row]
    seconds: float

    @property
    def num_failed(self) -> int:
        """Rows whose case failed."""
        return sum(row.status == FAILED for row in self.rows)
