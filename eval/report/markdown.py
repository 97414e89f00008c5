"""The report as Markdown: `report.md`, with pictures beside it."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

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


def write_markdown(results: Results, pictures: Pictures, path: Path) -> None:
    """Writes the report; it appears whole."""
    parts = ["# Evaluation", *map(escaped, introduction(results))]
    unmeasured = unmeasured_lines(results)
    if unmeasured:
        parts += ["## Not measured", _listed(unmeasured)]
    for protocol in results.protocols():
        parts.append(f"## Protocol: {protocol}")
        parts += [markdown_table(table, 3) for table in metric_tables(results, protocol)]
        failures = failure_lines(results, protocol)
        if failures:
            parts += ["### Failed", _listed(failures)]
        if protocol in pictures.plots:
            parts += [f"### Every video\n\n![values of all videos, {protocol}]({quote(pictures.plots[protocol])})"]
        ranked = rankings(results, protocol)
        if ranked:
            parts += ["### Worst and best videos", _ranking_table(ranked, pictures)]
    parts += [markdown_table(table, 2) for table in closing_tables(results)]
    with atomic_write(path) as beside:
        beside.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def markdown_table(table: Table, level: int) -> str:
    """A title of that level, the table and its notes."""
    lines = [f"{'#' * level} {escaped(table.title)}", ""]
    if table.header:
        lines += ["| " + " | ".join(map(escaped, table.header)) + " |", "|" + "---|" * len(table.header)]
        lines += ["| " + " | ".join(map(escaped, row)) + " |" for row in table.rows]
        lines.append("")
    return "\n".join([*lines, _listed(table.notes)]).rstrip()


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _ranking_table(ranked: list[Ranking], pictures: Pictures) -> str:
    lines = ["| row | figure | worst first | best first |", "|---|---|---|---|"]
    for ranking in ranked:
        shown = [
            ", ".join(_shown(video, ranking, pictures) for video in side) for side in (ranking.worst, ranking.best)
        ]
        lines.append(f"| {ranking.row} | {escaped(heading(ranking.figure))} | {shown[0]} | {shown[1]} |")
    return "\n".join(lines)


def _shown(video: VideoRecord, ranking: Ranking, pictures: Pictures) -> str:
    name = escaped(video.name)
    sheet = pictures.sheets.get(video.identity)
    linked = f"[{name}]({quote(sheet)})" if sheet else name
    return f"{linked} {number(video.values[ranking.figure.name])}"


def escaped(text: str) -> str:
    """Text that Markdown leaves alone, in one line."""
    text = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "|`*_[]<>\\" else sign for sign in text)
