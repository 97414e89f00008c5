"""Data types of the pipeline: clips, the result of a step for one clip, and the interface of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

NUM_STEPS = 8
"""Steps of the whole pipeline, numbered from 1."""

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""A value that a manifest can store."""


@dataclass(frozen=True)
class Clip:
    """A video file with its metadata: the complete input of a step.

    Attributes:
        key: hex digest of the raw file's content and of the steps and settings that made the clip. Clips with equal
            keys are equal, in every run and on every machine.
        source: key of the raw file.
        name: readable name, unique among clips: the sanitised name of the raw file plus one suffix per cut.
        path: the file.
        facts: measurements of earlier steps by name. The docstring of each step lists the facts it adds.
    """

    key: str
    source: str
    name: str
    path: Path
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """One output clip of a step.

    Attributes:
        file: the file that the step wrote into its work folder, or None if the clip's file is unchanged.
        suffix: appended to the clip's name, such as ``_shot003``; "" if the step makes one clip of one clip.
        facts: new facts of the clip.
        sidecars: further files of the clip in the work folder, by fact name. The runner moves them next to the clip and
            stores their final paths in the facts.
    """

    file: Path | None = None
    suffix: str = ""
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    sidecars: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """Result of an accepted clip: one output, or several with different suffixes."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Rejected:
    """Result of a rejected clip. A rejection is a result, not an exception.

    Attributes:
        reason: short name from the step's `reasons`, such as ``no_sound``; reports count clips by reason.
        detail: one line with the measured values.
        facts: what was measured before the rejection, such as the offset of a clip that is out of sync.
    """

    reason: str
    detail: str = ""
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


StepResult = Done | Rejected

ProcessClip = Callable[[Clip, Path], StepResult]
"""Function (clip, empty work folder) -> result. It writes its outputs into the work folder, from which the runner moves
them. The result and the files depend only on the clip and the step's settings."""


class Step(Protocol):
    """Interface of a step: its settings, its weights and its function of one clip.

    Instances are small and picklable, because workers receive them. `config` is a dataclass of exactly those settings
    that change the results. Raise `version` when a change of the code changes the results.
    """

    number: ClassVar[int]
    name: ClassVar[str]
    """As in the module's name, such as ``resample``."""
    folder: ClassVar[str | None]
    """Subfolder of the output folder that receives the clips; None if the step leaves every file unchanged."""
    version: ClassVar[int]
    reasons: ClassVar[Mapping[str, str]]
    """Reasons for a rejection, with a one-line explanation each."""
    uses_device: ClassVar[bool]
    """True if the step runs a network: one worker per accelerator instead of one per core."""

    @property
    def config(self) -> Any:
        """Settings of the step."""
        ...

    def weights(self) -> list[Path]:
        """Return the weight files that the step reads; their content is part of the settings key.

        Raises:
            CheckpointError: a file is missing; the message names the remedy.
        """
        ...

    def load(self, device: torch.device) -> ProcessClip:
        """Load the networks and return the function of one clip; called once per worker."""
        ...


class CpuStep:
    """Base of steps that run no network: no weights, no device; `process` is the function of one clip."""

    uses_device: ClassVar[bool] = False

    def weights(self) -> list[Path]:
        """Return an empty list."""
        return []

    def load(self, device: torch.device) -> ProcessClip:
        """Return `process`."""
        return self.process

    def process(self, clip: Clip, work: Path) -> StepResult:
        """Return the result of one clip; outputs are written into the folder `work`."""
        raise NotImplementedError
