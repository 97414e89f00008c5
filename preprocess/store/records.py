"""Content of a manifest: one row per clip with the outputs of the step, and the description of the step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preprocess.step import Clip, JsonValue

Status = Literal["done", "rejected", "failed"]


@dataclass(frozen=True)
class Product:
    """An output clip of a step at its final place.

    Attributes:
        clip: the clip.
        num_bytes: size of its file.
        sidecars: names of the facts with the paths of its sidecar files.
    """

    clip: Clip
    num_bytes: int
    sidecars: tuple[str, ...] = ()

    def exists(self) -> bool:
        """Return True if the clip with its recorded size and all sidecars exist."""
        try:
            is_complete = self.clip.path.stat().st_size == self.num_bytes
        except OSError:
            return False
        return is_complete and all(Path(str(self.clip.facts[name])).is_file() for name in self.sidecars)


@dataclass(frozen=True)
class Row:
    """Record of one clip in one step.

    Attributes:
        record_key: key of this clip in this step with these settings.
        clip_key, source, name, input_path: the input clip.
        status: done, rejected or failed.
        reason: of a rejection: a short name from the step's `reasons` (in step 1 also ``duplicate``); of a failure:
            ``error``, ``crashed``, ``timeout``, ``memory`` or ``unreadable``; else empty.
        detail: one line.
        products: outputs of the step; empty unless done.
        facts: facts of the input clip, and the measurements of a rejection.
        settings: settings key of the step.
        seconds: time in the worker.
        finished: end of the task in seconds since 1970.
    """

    record_key: str
    clip_key: str
    source: str
    name: str
    input_path: Path
    status: Status
    reason: str = ""
    detail: str = ""
    products: tuple[Product, ...] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    settings: str = ""
    seconds: float = 0.0
    finished: float = field(default_factory=time.time)

    @property
    def outputs(self) -> tuple[Clip, ...]:
        """Output clips of the step."""
        return tuple(product.clip for product in self.products)


@dataclass(frozen=True)
class StepRecord:
    """Description of a step in its manifest, as it last ran. Older manifests are read by these field names.

    Attributes:
        number, name, folder, version, reasons: as in `Step`.
        skipped: True if clips passed through unchanged.
        config: settings.
        chain: key of all settings up to this step.
    """

    number: int
    name: str
    folder: str | None
    version: int
    skipped: bool
    config: Mapping[str, Any]
    reasons: Mapping[str, str]
    chain: str


@dataclass(frozen=True)
class Counts:
    """Sums over rows.

    Attributes:
        num_done, num_rejected, num_failed: rows by status.
        num_outputs: output clips.
        reasons: number of rows by (status, reason).
        seconds: time in all workers.
    """

    num_done: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_outputs: int = 0
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def num_rows(self) -> int:
        """Number of input clips."""
        return self.num_done + self.num_rejected + self.num_failed
