"""A clip on its way through the steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""What a manifest can hold."""


@dataclass(frozen=True)
class Clip:
    """One file and what is known of it. Everything a step may look at is in here.

    Attributes:
        key: hex digits that stand for this very clip: the content of its raw file, and the steps and settings that
            made it of that. Equal keys mean equal clips, in every run and on every machine.
        source: the key of the raw file it comes from.
        name: a readable name, unique among clips: the raw file's cleaned name, with a suffix from every cut.
        path: the file.
        facts: what earlier steps measured, by name; a step adds to them, and says in its docstring what.
    """

    key: str
    source: str
    name: str
    path: Path
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
