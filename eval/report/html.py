"""The report as one self-contained HTML file: `report.html`."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from eval.report.content import Table, heading, number, report_parts
from eval.report.images import ReportImages
from eval.results import Ranking, Results, VideoRecord
from latentsync.storage.atomic import atomic_write

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .5em 0 1em } td, th { border: 1px solid #ccc; padding: .25em .6em }
th { background: #f2f2f2; text-align: left } td { vertical-align: top; overflow-wrap: anywhere }
td:first-child { overflow-wrap: break-word }
img { max-width: 100% } .notes { color: #8a4b00 } figure { display: inline-block; margin: .4em 1em .4em 0 }
figcaption { font-size: 13px } summary { cursor: pointer; font-weight: 600; margin: .4em 0 } .sheet { width: 432px }
"""


def write_html(results: Results, images: ReportImages, out: Path, path: Path) -> None:
    """Write the report atomically, with the images of the folder `out` embedded.

    A contact sheet that several rankings show is embedded once, as the background of a style class.
    """
    body = "\n".join(report_parts(results, images, HtmlFormat(images, out)))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Evaluation</title>'
    style = _STYLE + "".join(_sheet_style(place, out / name) for place, name in enumerate(images.sheets.values()))
    with atomic_write(path) as temporary:
        page = f'<!doctype html><html lang="en"><head>{head}<style>{style}</style></head><body>{body}</body></html>\n'
        temporary.write_text(page, encoding="utf-8")


class HtmlFormat:
    """A `ReportFormat` for HTML.

    Args:
        images: images of the report.
        out: folder to which their file names are relative.
    """

    def __init__(self, images: ReportImages, out: Path) -> None:
        self._images, self._out = images, out
        self._sheet_numbers = {identity: place for place, identity in enumerate(images.sheets)}

    def title(self, text: str) -> str:
        """See `ReportFormat`."""
        return f"<h1>{escape(text)}</h1>"

    def paragraph(self, text: str) -> str:
        """See `ReportFormat`."""
        return f"<p>{escape(text)}</p>"

    def section(self, title: str) -> str:
        """See `ReportFormat`."""
        return f"<h2>{escape(title)}</h2>"

    def bullets(self, title: str, level: int, lines: Sequence[str]) -> str:
        """See `ReportFormat`."""
        return f"<h{level}>{escape(title)}</h{level}>{_bullets(lines)}"

    def table(self, table: Table, level: int) -> str:
        """See `ReportFormat`; all tables have headings of level 3."""
        parts = [f"<h3>{escape(table.title)}</h3>"]
        if table.header:
            header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
            rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
            parts.append(f"<table><tr>{header}</tr>{rows}</table>")
        if table.notes:
            parts.append(f'<div class="notes">{_bullets(table.notes)}</div>')
        return "".join(parts)

    def plot(self, protocol: str, file: str) -> str:
        """See `ReportFormat`."""
        image = _data_url(self._out / file, "image/png")
        return f'<h3>Every video</h3><img src="{image}" alt="values of all videos, {escape(protocol)}">'

    def rankings(self, ranked: Sequence[Ranking]) -> str:
        """See `ReportFormat`."""
        return "\n".join(["<h3>Worst and best videos</h3>", *map(self._ranking, ranked)])

    def _ranking(self, ranking: Ranking) -> str:
        sides = [
            f"<p>{title}</p>" + "".join(self._video(video, ranking) for video in videos)
            for title, videos in (("Worst first", ranking.worst), ("Best first", ranking.best))
        ]
        title = f"{ranking.row}: {heading(ranking.quantity)}"
        return f"<details><summary>{escape(title)}</summary>{''.join(sides)}</details>"

    def _video(self, video: VideoRecord, ranking: Ranking) -> str:
        caption = escape(f"{video.name}: {number(video.values[ranking.quantity.name])}")
        sheet = ""
        if video.identity in self._sheet_numbers:
            place = self._sheet_numbers[video.identity]
            label = f"contact sheet of {escape(video.name)}"
            sheet = f'<div class="sheet sheet{place}" role="img" aria-label="{label}"></div>'
        return f"<figure>{sheet}<figcaption>{caption}</figcaption></figure>"


def _bullets(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _sheet_style(place: int, file: Path) -> str:
    with Image.open(file) as image:
        width, height = image.size
    url = _data_url(file, "image/jpeg")
    return f".sheet{place} {{ aspect-ratio: {width} / {height}; background: url({url}) center / contain no-repeat }}\n"


def _data_url(file: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
