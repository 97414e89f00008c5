"""The report as one HTML file without anything beside it: `report.html`."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from PIL import Image

from eval.ranking import Ranking, rankings
from eval.report.pictures import Pictures
from eval.report.tables import (
    Table,
    closing_tables,
    failure_lines,
    heading,
    introduction,
    metric_tables,
    number,
    unmeasured_lines,
)
from eval.results import Results, VideoRecord
from latentsync.storage.atomic import atomic_write

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .5em 0 1em } td, th { border: 1px solid #ccc; padding: .25em .6em }
th { background: #f2f2f2; text-align: left } td { vertical-align: top; overflow-wrap: anywhere }
td:first-child { overflow-wrap: break-word }
img { max-width: 100% } .notes { color: #8a4b00 } figure { display: inline-block; margin: .4em 1em .4em 0 }
figcaption { font-size: 13px } summary { cursor: pointer; font-weight: 600; margin: .4em 0 } .sheet { width: 432px }
"""


def write_html(results: Results, pictures: Pictures, out: Path, path: Path) -> None:
    """Writes the report with the pictures of the folder `out` inside; it appears whole.

    A contact sheet that several figures show is in the file once, as a background of a style class.
    """
    parts = ["<h1>Evaluation</h1>", *(f"<p>{escape(line)}</p>" for line in introduction(results))]
    unmeasured = unmeasured_lines(results)
    if unmeasured:
        parts.append(f"<h2>Not measured</h2>{_listed(unmeasured)}")
    for protocol in results.protocols():
        parts.append(f"<h2>Protocol: {escape(protocol)}</h2>")
        parts += [html_table(table) for table in metric_tables(results, protocol)]
        failures = failure_lines(results, protocol)
        if failures:
            parts.append(f"<h3>Failed</h3>{_listed(failures)}")
        if protocol in pictures.plots:
            image = _data_url(out / pictures.plots[protocol], "image/png")
            parts.append(f'<h3>Every video</h3><img src="{image}" alt="values of all videos, {escape(protocol)}">')
        ranked = rankings(results, protocol)
        if ranked:
            parts.append("<h3>Worst and best videos</h3>")
            parts += [_ranking(ranking, pictures) for ranking in ranked]
    parts += [html_table(table) for table in closing_tables(results)]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Evaluation</title>'
    body = "\n".join(parts)
    style = _STYLE + "".join(_sheet_style(place, out / name) for place, name in enumerate(pictures.sheets.values()))
    with atomic_write(path) as beside:
        page = f'<!doctype html><html lang="en"><head>{head}<style>{style}</style></head><body>{body}</body></html>\n'
        beside.write_text(page, encoding="utf-8")


def html_table(table: Table) -> str:
    """Title, table and notes."""
    parts = [f"<h3>{escape(table.title)}</h3>"]
    if table.header:
        header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
        rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
        parts.append(f"<table><tr>{header}</tr>{rows}</table>")
    if table.notes:
        parts.append(f'<div class="notes">{_listed(table.notes)}</div>')
    return "".join(parts)


def _listed(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _ranking(ranking: Ranking, pictures: Pictures) -> str:
    sides = [
        f"<p>{title}</p>" + "".join(_figure(video, ranking, pictures) for video in videos)
        for title, videos in (("Worst first", ranking.worst), ("Best first", ranking.best))
    ]
    title = f"{ranking.row}: {heading(ranking.figure)}"
    return f"<details><summary>{escape(title)}</summary>{''.join(sides)}</details>"


def _figure(video: VideoRecord, ranking: Ranking, pictures: Pictures) -> str:
    caption = escape(f"{video.name}: {number(video.values[ranking.figure.name])}")
    order = list(pictures.sheets)
    picture = ""
    if video.identity in pictures.sheets:
        place = order.index(video.identity)
        picture = (
            f'<div class="sheet sheet{place}" role="img" aria-label="contact sheet of {escape(video.name)}"></div>'
        )
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _sheet_style(place: int, file: Path) -> str:
    with Image.open(file) as image:
        width, height = image.size
    url = _data_url(file, "image/jpeg")
    return f".sheet{place} {{ aspect-ratio: {width} / {height}; background: url({url}) center / contain no-repeat }}\n"


def _data_url(file: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
