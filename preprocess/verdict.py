"""What a step says of a clip. That a clip is rejected is a result, not an exception."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.clip import JsonValue


@dataclass(frozen=True)
class Output:
    """One clip that a step makes of its input.

    Attributes:
        file: what the step wrote into its work folder, or None where the clip goes on as it is (the same file).
        suffix: what the cut adds to the clip's name, such as ``_shot003``; "" where one clip becomes one.
        facts: what the step found out, added to the clip's facts.
        sidecars: further files in the work folder that belong to the clip, by name in its facts; the runner puts them
            beside the clip and writes their final paths into the facts.
    """

    file: Path | None = None
    suffix: str = ""
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    sidecars: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """The clip passed; of one clip may come several, each with its own suffix."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Rejected:
    """The clip ends here.

    Attributes:
        reason: a short name from the step's `reasons`, such as ``no_sound``; reports count them.
        detail: one line with the figures behind it.
        facts: what was measured all the same, such as the offset of a clip out of sync.
    """

    reason: str
    detail: str = ""
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


Verdict = Done | Rejected
