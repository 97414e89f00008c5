"""What a manifest holds: rows, what they made, and what it says of its step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preprocess.clip import Clip, JsonValue

Status = Literal["done", "rejected", "failed"]


@dataclass(frozen=True)
class Product:
    """A clip that a step made, and what tells whether it is still there.

    Attributes:
        clip: the clip at its final place.
        num_bytes: the size of its file.
        sidecars: names of the facts that hold paths of further files of the clip.
    """

    clip: Clip
    num_bytes: int
    sidecars: tuple[str, ...] = ()

    def is_there(self) -> bool:
        """Whether its files still lie where they were put, the clip in full length."""
        try:
            is_whole = self.clip.path.stat().st_size == self.num_bytes
        except OSError:
            return False
        return is_whole and all(Path(str(self.clip.facts[name])).is_file() for name in self.sidecars)


@dataclass(frozen=True)
class Row:
    """What came of one clip at one step.

    Attributes:
        record_key: the key of this clip at this step under its settings.
        clip_key, source, name, input_path: the clip that went in.
        status: done, rejected or failed.
        reason: for rejected a short name from the step's `reasons` (at step 1 also ``duplicate``), for failed one of
            ``error``, ``crashed``, ``timeout``, ``memory``, ``unreadable``; empty for done.
        detail: one line.
        products: what the step made; empty unless done.
        facts: of the clip that went in, and what a rejection measured.
        settings: the key of the step's settings.
        seconds: the time it took.
        finished: when, in seconds since 1970.
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
        """The clips it made."""
        return tuple(product.clip for product in self.products)


@dataclass(frozen=True)
class StepRecord:
    """What a manifest says of its step, as it last ran.

    Attributes:
        number, name, folder, version, reasons: as in `Step`.
        skipped: whether the clips only passed through.
        config: the settings.
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
    """Sums over rows; `reasons` counts rows by (status, reason), `seconds` is the work of all workers."""

    num_done: int = 0
    num_rejected: int = 0
    num_failed: int = 0
    num_outputs: int = 0
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def num_rows(self) -> int:
        """How many clips went in."""
        return self.num_done + self.num_rejected + self.num_failed
