"""Blocks of a page, and their rendering as Markdown and as one HTML file with embedded images.

Texts in blocks are plain. Names of files may contain anything: all texts are escaped on rendering, and characters that
cannot be printed are replaced by escapes.
"""

import base64
import html
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the page."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of texts; the columns named in `numeric` are right-aligned."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ImageFile:
    """An image file (PNG) with a description."""

    path: Path
    text: str


@dataclass(frozen=True)
class ClipList:
    """A numbered list of clips: name and note; the note may be empty."""

    items: Sequence[tuple[str, str]]


Block = Heading | Paragraph | Table | ImageFile | ClipList

_MARKDOWN_CHARS = re.compile(r"[\\`*_\[\]|~$#]")
_LIST_MARKERS = re.compile(r"^([-+=]|\d+(?=[.)]))")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
figure { margin: 1rem 0; }
li span { color: #666; }
"""


def printable(text: str) -> str:
    """Return the text on one line. Unprintable characters, also those that change the text direction, are escaped."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return " " if char in "\t\n\r" else char.encode("unicode_escape").decode("ascii")


def to_markdown(blocks: Iterable[Block], folder: Path) -> str:
    """Return the page as Markdown for a file in ``folder``; images are linked relative to it."""
    return "\n\n".join(_markdown_block(block, folder) for block in blocks) + "\n"


def to_html(blocks: Iterable[Block], title: str) -> str:
    """Return the page as one self-contained HTML file: no scripts, images as data URIs."""
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_in_html(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _in_markdown(text: str) -> str:
    """Escape text within a line: table cells, headings, link texts."""
    safe = printable(text).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_CHARS.sub(r"\\\g<0>", safe)


def _at_line_start(text: str) -> str:
    """Escape text at the start of a line, where a dash or a number with a dot would start a list."""
    return _LIST_MARKERS.sub(_escape_marker, _in_markdown(text))


def _escape_marker(match: re.Match[str]) -> str:
    marker = match.group()
    return f"{marker}\\" if marker.isdigit() else f"\\{marker}"


def _in_html(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _markdown_block(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_in_markdown(block.text)}"
    if isinstance(block, Paragraph):
        return _at_line_start(block.text)
    if isinstance(block, ImageFile):
        return f"![{_in_markdown(block.text)}](<{Path(os.path.relpath(block.path, folder)).as_posix()}>)"
    if isinstance(block, ClipList):
        items = ((_at_line_start(name), f": {_in_markdown(note)}" if note else "") for name, note in block.items)
        return "\n".join(f"{number}. {name}{note}" for number, (name, note) in enumerate(items, start=1))
    lines = [
        _markdown_row(block.columns),
        _markdown_row(["---:" if column in block.numeric else "---" for column in block.columns], escape=False),
        *map(_markdown_row, block.rows),
    ]
    return "\n".join(lines)


def _markdown_row(cells: Iterable[str], escape: bool = True) -> str:
    return "| " + " | ".join(_in_markdown(cell) if escape else cell for cell in cells) + " |"


def _html_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_in_html(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{_in_html(block.text)}</p>"
    if isinstance(block, ImageFile):
        data = base64.b64encode(block.path.read_bytes()).decode("ascii")
        return f'<figure><img alt="{_in_html(block.text)}" src="data:image/png;base64,{data}"></figure>'
    if isinstance(block, ClipList):
        items = (
            f"<li>{_in_html(name)}{f' <span>{_in_html(note)}</span>' if note else ''}</li>"
            for name, note in block.items
        )
        return f"<ol>{''.join(items)}</ol>"
    return _html_table(block)


def _html_table(table: Table) -> str:
    marks = [' class="number"' if column in table.numeric else "" for column in table.columns]
    head = "".join(f"<th{mark}>{_in_html(name)}</th>" for mark, name in zip(marks, table.columns, strict=True))
    rows = (
        "<tr>" + "".join(f"<td{mark}>{_in_html(cell)}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in table.rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>"
