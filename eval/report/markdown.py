"""The report as Markdown: `report.md`, with its images in files."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from eval.report.content import Table, heading, number, report_parts
from eval.report.images import ReportImages
from eval.results import Ranking, Results, VideoRecord
from latentsync.storage.atomic import atomic_write


def write_markdown(results: Results, images: ReportImages, path: Path) -> None:
    """Write the report atomically."""
    parts = report_parts(results, images, MarkdownFormat(images))
    with atomic_write(path) as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


class MarkdownFormat:
    """A `ReportFormat` for Markdown."""

    def __init__(self, images: ReportImages) -> None:
        self._images = images

    def title(self, text: str) -> str:
        """See `ReportFormat`."""
        return f"# {text}"

    def paragraph(self, text: str) -> str:
        """See `ReportFormat`."""
        return escaped(text)

    def section(self, title: str) -> str:
        """See `ReportFormat`."""
        return f"## {title}"

    def bullets(self, title: str, level: int, lines: Sequence[str]) -> str:
        """See `ReportFormat`."""
        return f"{'#' * level} {title}\n\n{_bullets(lines)}"

    def table(self, table: Table, level: int) -> str:
        """See `ReportFormat`."""
        return markdown_table(table, level)

    def plot(self, protocol: str, file: str) -> str:
        """See `ReportFormat`."""
        return f"### Every video\n\n![values of all videos, {protocol}]({quote(file)})"

    def rankings(self, ranked: Sequence[Ranking]) -> str:
        """See `ReportFormat`."""
        lines = ["### Worst and best videos", "", "| row | metric | worst first | best first |", "|---|---|---|---|"]
        for ranking in ranked:
            worst, best = (
                ", ".join(self._linked(video, ranking) for video in side) for side in (ranking.worst, ranking.best)
            )
            lines.append(f"| {ranking.row} | {escaped(heading(ranking.quantity))} | {worst} | {best} |")
        return "\n".join(lines)

    def _linked(self, video: VideoRecord, ranking: Ranking) -> str:
        name = escaped(video.name)
        sheet = self._images.sheets.get(video.identity)
        linked = f"[{name}]({quote(sheet)})" if sheet else name
        return f"{linked} {number(video.values[ranking.quantity.name])}"


def markdown_table(table: Table, level: int) -> str:
    """Return a heading of a level, the table and its notes."""
    lines = [f"{'#' * level} {escaped(table.title)}", ""]
    if table.header:
        lines += ["| " + " | ".join(map(escaped, table.header)) + " |", "|" + "---|" * len(table.header)]
        lines += ["| " + " | ".join(map(escaped, row)) + " |" for row in table.rows]
        lines.append("")
    return "\n".join([*lines, _bullets(table.notes)]).rstrip()


def escaped(text: str) -> str:
    """Return text in one line with the special characters of Markdown escaped."""
    text = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "|`*_[]<>\\" else sign for sign in text)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)
