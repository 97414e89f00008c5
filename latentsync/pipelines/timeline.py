"""A picture of what was done when: one row per person over the time of the result (PNG)."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from latentsync.media.writer import MADE_BY
from latentsync.pipelines.report import PersonReport, Span
from latentsync.storage.atomic import atomic_write

WIDTH, ROW_HEIGHT, LABEL_WIDTH, MARGIN = 1200, 34, 220, 16
"""Size of the picture and of its parts in pixels."""

_SYNCED, _ABSENT, _TEXT, _AXIS = (66, 133, 200), (222, 222, 222), (40, 40, 40), (120, 120, 120)
_MARKS = ((230, 145, 56), (204, 0, 0), (106, 168, 79), (142, 99, 180), (60, 60, 60))
"""Colours of spans, in the order in which their names first occur."""
_BAR_SHARE, _MARK_SHARE = 0.62, 0.24
"""Heights of a row's bar and of a span below it, as shares of the row."""
_TICK_STEPS_S = (0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600)
_MAX_TICKS = 12


def write_timeline(people: Sequence[PersonReport], num_frames: int, fps: float, path: Path) -> None:
    """Write the timeline atomically.

    Args:
        people: what was done with each person.
        num_frames: length of the result.
        fps: frames per second.
        path: the PNG.
    """
    names = list(dict.fromkeys(name for person in people for name in person.spans if person.spans[name]))
    colours = {name: _MARKS[number % len(_MARKS)] for number, name in enumerate(names)}
    height = 2 * MARGIN + ROW_HEIGHT * (len(people) + 2)
    picture = Image.new("RGB", (WIDTH, height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    scale = (WIDTH - LABEL_WIDTH - MARGIN) / max(num_frames, 1)

    def bar(span: Span, top: float, thickness: float, colour: tuple[int, int, int]) -> None:
        left, right = (LABEL_WIDTH + frame * scale for frame in span)
        draw.rectangle((left, top, max(right - 1, left + 1), top + thickness), fill=colour)

    for row, person in enumerate(people):
        top = MARGIN + row * ROW_HEIGHT
        label = f"{person.name}: {person.speech.name}"
        draw.text((MARGIN, top + 4), _shortened(label, font), fill=_TEXT, font=font)
        for interval in person.intervals:
            span = (interval.start, interval.stop)
            bar(span, top, _BAR_SHARE * ROW_HEIGHT, _SYNCED if interval.has_face else _ABSENT)
        for name, spans in person.spans.items():
            for span in spans:
                bar(span, top + _BAR_SHARE * ROW_HEIGHT, _MARK_SHARE * ROW_HEIGHT, colours[name])
    bottom = MARGIN + len(people) * ROW_HEIGHT
    for seconds in _ticks(num_frames / fps):
        x = LABEL_WIDTH + seconds * fps * scale
        draw.line((x, MARGIN, x, bottom), fill=_AXIS)
        if x + 2 + font.getlength(f"{seconds:g} s") <= WIDTH:
            draw.text((x + 2, bottom), f"{seconds:g} s", fill=_TEXT, font=font)
    x = LABEL_WIDTH
    for name, colour in {"generated": _SYNCED, "unchanged": _ABSENT, **colours}.items():
        draw.rectangle((x, bottom + ROW_HEIGHT, x + 12, bottom + ROW_HEIGHT + 12), fill=colour)
        draw.text((x + 18, bottom + ROW_HEIGHT - 2), name, fill=_TEXT, font=font)
        x += 40 + round(font.getlength(name))
    note = PngInfo()
    note.add_text("Software", MADE_BY)
    with atomic_write(path) as beside:
        picture.save(beside, "PNG", pnginfo=note)


def _ticks(seconds: float) -> list[float]:
    step = next((step for step in _TICK_STEPS_S if seconds / step <= _MAX_TICKS), _TICK_STEPS_S[-1])
    return [number * step for number in range(int(seconds / step) + 1)]


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, cut to the width of a label."""
    while font.getlength(text) > LABEL_WIDTH - 2 * MARGIN:
        text = f"{text.rstrip('.')[:-1]}..."
    return text
