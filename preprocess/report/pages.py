"""Renders blocks as Markdown and as one HTML file with its pictures inside.

Names of files are whatever somebody called them: everything is escaped, and what cannot be printed is spelled out.
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


_MARKDOWN_SIGNS = re.compile(r"[\\`*_\[\]|~$#]")
_LINE_BEGINNINGS = re.compile(r"^([-+=]|\d+(?=[.)]))")
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
    """The text on one line, with every sign that cannot be printed (or turns the direction of writing) as an escape."""
    return "".join(sign if sign.isprintable() else _spelled(sign) for sign in text)


def _spelled(sign: str) -> str:
    return " " if sign in "\t\n\r" else sign.encode("unicode_escape").decode("ascii")


def to_markdown(blocks: Iterable[Block], folder: Path) -> str:
    """The page as Markdown that lies in ``folder``; pictures are linked relative to it."""
    return "\n\n".join(_markdown_block(block, folder) for block in blocks) + "\n"


def to_html(blocks: Iterable[Block], title: str) -> str:
    """The page as one HTML file that needs nothing else: no script, and pictures as data URIs."""
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_in_html(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _in_markdown(text: str) -> str:
    """Escaped for any place within a line: table cells, headings, link texts."""
    safe = printable(text).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SIGNS.sub(r"\\\g<0>", safe)


def _at_line_beginning(text: str) -> str:
    """Escaped for where a dash, or a number with a dot, would begin a list."""
    return _LINE_BEGINNINGS.sub(_without_list, _in_markdown(text))


def _without_list(match: re.Match[str]) -> str:
    sign = match.group()
    return f"{sign}\\" if sign.isdigit() else f"\\{sign}"


def _in_html(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _markdown_block(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_in_markdown(block.text)}"
    if isinstance(block, Paragraph):
        return _at_line_beginning(block.text)
    if isinstance(block, Picture):
        return f"![{_in_markdown(block.text)}](<{Path(os.path.relpath(block.path, folder)).as_posix()}>)"
    if isinstance(block, Names):
        items = ((_at_line_beginning(name), f": {_in_markdown(note)}" if note else "") for name, note in block.items)
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
    if isinstance(block, Picture):
        data = base64.b64encode(block.path.read_bytes()).decode("ascii")
        return f'<figure><img alt="{_in_html(block.text)}" src="data:image/png;base64,{data}"></figure>'
    if isinstance(block, Names):
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
