"""The figures of a report, as plain values: what the manifests are read into, and what the pages are made of."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_MAX_BINS = 2000
"""Values further out than so many bins are counted in the last one, so that one wild value costs nothing."""


class Histogram:
    """Counts values in bins of one width; bin i holds [(i - 1/2) width, (i + 1/2) width), so whole numbers lie central.

    Args:
        width: of a bin, in the unit of the values.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self.bins: Counter[int] = Counter()
        self.num_values = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value; one that is not finite is left out."""
        if not math.isfinite(value):
            return
        index = math.floor(value / self.width + 0.5)
        self.bins[max(-_MAX_BINS, min(_MAX_BINS, index))] += 1
        self.num_values += 1
        self._sum += value

    @property
    def mean(self) -> float | None:
        """Of the values themselves, not of their bins; None where there are none."""
        return self._sum / self.num_values if self.num_values else None

    def quantile(self, share: float) -> float | None:
        """The middle of the bin below which (or in which) this share of the values lies; None where there are none."""
        if not self.num_values:
            return None
        seen = 0
        for index in sorted(self.bins):
            seen += self.bins[index]
            if seen >= share * self.num_values:
                return index * self.width
        return None


@dataclass(frozen=True)
class Quantity:
    """A measured fact whose distribution is worth a picture.

    Attributes:
        step: name of the step that measures it.
        fact: its name among the facts.
        title: in words, with the unit.
        bin_width: of the histogram, in that unit.
    """

    step: str
    fact: str
    title: str
    bin_width: float


QUANTITIES = (
    Quantity("faces", "face_width", "face width (median of the clip, px)", 16),
    Quantity("faces", "face_height", "face height (median of the clip, px)", 16),
    Quantity("sync", "offset", "audio-visual offset (frames)", 1),
    Quantity("sync", "confidence", "sync confidence", 0.05),
    Quantity("quality", "quality", "visual quality (hyperIQA)", 2),
)


@dataclass(frozen=True)
class Example:
    """A clip to show.

    Attributes:
        name: the clip's.
        path: the file to take frames from.
        note: one line: why it was rejected, or what was measured.
    """

    name: str
    path: Path
    note: str = ""


@dataclass
class Bucket:
    """Clips that met the same end at one step.

    Attributes:
        num_clips: how many went in.
        video_seconds: their length, as far as it is known.
        num_unknown: clips whose length is not known.
        examples: a handful.
    """

    num_clips: int = 0
    video_seconds: float = 0.0
    num_unknown: int = 0
    examples: list[Example] = field(default_factory=list)

    def add_length(self, seconds: float | None) -> None:
        """Counts a clip of this length, in seconds; None where it is not known."""
        self.num_clips += 1
        if seconds is None:
            self.num_unknown += 1
        else:
            self.video_seconds += seconds


@dataclass
class StepNumbers:
    """What one step did.

    Attributes:
        number, name, folder: the step's; folder is None where it makes no files.
        meanings: what each reason means.
        skipped: left out by --skip_steps; every clip went by untouched.
        complete: its last run came to its end.
        outdated: it last ran behind other settings of the steps before it.
        incoming: the clips that reached it and were dealt with.
        kept: what it made of those it kept (one clip may become several).
        num_kept: how many of the incoming clips it kept.
        rejected: by reason.
        failed: by reason; clips whose worker raised, hung, died or took too much memory. Their notes are the errors.
        work_seconds: time in the workers, all clips together.
        distributions: by the name of the fact, then "kept", "rejected"; only facts that were measured.
    """

    number: int
    name: str
    folder: str | None
    meanings: Mapping[str, str] = field(default_factory=dict)
    skipped: bool = False
    complete: bool = True
    outdated: bool = False
    incoming: Bucket = field(default_factory=Bucket)
    kept: Bucket = field(default_factory=Bucket)
    num_kept: int = 0
    rejected: dict[str, Bucket] = field(default_factory=dict)
    failed: dict[str, Bucket] = field(default_factory=dict)
    work_seconds: float = 0.0
    distributions: dict[str, dict[str, Histogram]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Number and name."""
        return f"{self.number} {self.name}"

    @property
    def num_rejected(self) -> int:
        """For whatever reason."""
        return sum(bucket.num_clips for bucket in self.rejected.values())

    @property
    def num_failed(self) -> int:
        """For whatever reason."""
        return sum(bucket.num_clips for bucket in self.failed.values())


@dataclass(frozen=True)
class StaleFiles:
    """Files in the step folders that belong to no clip of the settings last run.

    Attributes:
        num_files: how many.
        num_bytes: their size; of a file with several hard links only this one's share.
    """

    num_files: int = 0
    num_bytes: int = 0


@dataclass(frozen=True)
class Funnel:
    """From raw to kept.

    Attributes:
        output: the run's folder.
        steps: in order.
        stale: outputs of older settings.
    """

    output: Path
    steps: tuple[StepNumbers, ...]
    stale: StaleFiles
