"""Sections of the report, their cases and results."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.gpu_report.sizes import Sizes

MEASURED, FAILED, NOT_MEASURED = "measured", "failed", "not measured"

Values = Mapping[str, Any]
"""Measured values of a case by column."""


@dataclass(frozen=True)
class Setup:
    """Settings shared by all sections."""

    sizes: Sizes
    device: torch.device


@dataclass(frozen=True)
class Case:
    """One row of a section.

    Attributes:
        name: first cell of the row.
        run: function that measures it; an exception makes the case a failure.
    """

    name: str
    run: Callable[[], Values]


@dataclass(frozen=True)
class Section:
    """One table of the report.

    Attributes:
        name: name on the command line.
        title: heading.
        note: explanation of the columns.
        share: share of the time budget, relative to the other sections.
        cases: function that returns the rows; the work is in their `run`.
    """

    name: str
    title: str
    note: str
    share: float
    cases: Callable[[Setup], Iterator[Case]]


@dataclass(frozen=True)
class Row:
    """Result of a case.

    Attributes:
        case: name of the case.
        status: `MEASURED`, `FAILED` or `NOT_MEASURED`.
        values: measured values by column.
        reason: one line that states why there are no values.
    """

    case: str
    status: str
    values: Values = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SectionResult:
    """Results of a section and its duration."""

    section: Section
    rows: list[Row]
    seconds: float

    @property
    def num_failed(self) -> int:
        """Number of failed cases."""
        return sum(row.status == FAILED for row in self.rows)
