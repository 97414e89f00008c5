"""A page as a list of blocks, which Markdown and HTML both render; every text in them is plain and still unescaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True)
class Table:
    """Cells of text; columns named in `numeric` stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Picture:
    """An image file (PNG) with what it shows in words."""

    path: Path
    text: str


@dataclass(frozen=True)
class Names:
    """A numbered list of clips: name, and a note where there is one."""

    items: Sequence[tuple[str, str]]


Block = Heading | Paragraph | Table | Picture | Names
