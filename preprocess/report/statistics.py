"""Statistics of a run, read from its manifests and printed in the report."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_MAX_BINS = 2000
"""Values beyond this many bins are counted in the last bin, so that an outlier costs no memory."""


class Histogram:
    """Histogram in bounded memory. Bin i holds [(i - 1/2) width, (i + 1/2) width): integers are at bin centres.

    Args:
        width: width of a bin, in the unit of the values.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self.bins: Counter[int] = Counter()
        self.num_values = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count a value; values that are not finite are ignored."""
        if not math.isfinite(value):
            return
        index = math.floor(value / self.width + 0.5)
        self.bins[max(-_MAX_BINS, min(_MAX_BINS, index))] += 1
        self.num_values += 1
        self._sum += value

    @property
    def mean(self) -> float | None:
        """Mean of the values (not of the bins), or None without values."""
        return self._sum / self.num_values if self.num_values else None

    def quantile(self, share: float) -> float | None:
        """Return the centre of the bin that contains the quantile, or None without values."""
        if not self.num_values:
            return None
        num_below = 0
        for index in sorted(self.bins):
            num_below += self.bins[index]
            if num_below >= share * self.num_values:
                return index * self.width
        return None


@dataclass(frozen=True)
class Metric:
    """A measured fact whose distribution is plotted.

    Attributes:
        step: name of the step that measures it.
        fact: name of the fact.
        title: description with the unit.
        bin_width: width of a histogram bin in that unit.
    """

    step: str
    fact: str
    title: str
    bin_width: float


METRICS = (
    Metric("faces", "face_width", "face width (median of the clip, px)", 16),
    Metric("faces", "face_height", "face height (median of the clip, px)", 16),
    Metric("sync", "offset", "audio-visual offset (frames)", 1),
    Metric("sync", "confidence", "sync confidence", 0.05),
    Metric("quality", "quality", "visual quality (hyperIQA)", 2),
)


@dataclass(frozen=True)
class Example:
    """A clip shown in the report.

    Attributes:
        name: name of the clip.
        path: file whose frames are shown.
        note: one line with the reason of the rejection or the measured values.
    """

    name: str
    path: Path
    note: str = ""


@dataclass
class ClipGroup:
    """Clips with the same outcome in one step.

    Attributes:
        num_clips: number of clips.
        video_seconds: sum of the known lengths.
        num_unknown: number of clips of unknown length.
        examples: a few of the clips.
    """

    num_clips: int = 0
    video_seconds: float = 0.0
    num_unknown: int = 0
    examples: list[Example] = field(default_factory=list)

    def add_length(self, seconds: float | None) -> None:
        """Count a clip of this length in seconds; None if it is unknown."""
        self.num_clips += 1
        if seconds is None:
            self.num_unknown += 1
        else:
            self.video_seconds += seconds


@dataclass
class StepStatistics:
    """Statistics of one step.

    Attributes:
        number, name, folder: as in `Step`; folder is None if the step writes no files.
        meanings: explanation of each reason.
        skipped: True if --skip_steps excluded the step.
        complete: True if its last run finished.
        outdated: True if earlier steps have run with other settings since its last run.
        incoming: processed input clips.
        kept: output clips (one input clip may give several).
        num_kept: number of accepted input clips.
        rejected: rejected clips by reason.
        failed: failed clips by reason; the notes of the examples are the errors.
        work_seconds: time in all workers.
        distributions: histograms by fact name, then by "kept" or "rejected"; measured facts only.
    """

    number: int
    name: str
    folder: str | None
    meanings: Mapping[str, str] = field(default_factory=dict)
    skipped: bool = False
    complete: bool = True
    outdated: bool = False
    incoming: ClipGroup = field(default_factory=ClipGroup)
    kept: ClipGroup = field(default_factory=ClipGroup)
    num_kept: int = 0
    rejected: dict[str, ClipGroup] = field(default_factory=dict)
    failed: dict[str, ClipGroup] = field(default_factory=dict)
    work_seconds: float = 0.0
    distributions: dict[str, dict[str, Histogram]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Number and name."""
        return f"{self.number} {self.name}"

    @property
    def num_rejected(self) -> int:
        """Number of rejected clips."""
        return sum(group.num_clips for group in self.rejected.values())

    @property
    def num_failed(self) -> int:
        """Number of failed clips."""
        return sum(group.num_clips for group in self.failed.values())


@dataclass(frozen=True)
class StaleFiles:
    """Files in the step folders that belong to no clip of the last settings.

    Attributes:
        num_files: number of files.
        num_bytes: their size; a file with several hard links counts in equal shares.
    """

    num_files: int = 0
    num_bytes: int = 0


@dataclass(frozen=True)
class Funnel:
    """Statistics of all steps.

    Attributes:
        output: output folder of the run.
        steps: the steps in order.
        stale: files of older settings.
    """

    output: Path
    steps: tuple[StepStatistics, ...]
    stale: StaleFiles
