"""An image of what was done when: one row per person over the time of the result (PNG)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from latentsync.media.writer import MADE_BY
from latentsync.pipelines.report import PersonReport, Span
from latentsync.storage.atomic import atomic_write

WIDTH, LABEL_WIDTH, MARGIN = 1200, 220, 16
"""Width of the image, of its labels and of its border in pixels."""
BAR_HEIGHT, LANE_HEIGHT, ROW_GAP = 20, 8, 12
"""Heights in pixels: the bar of a person, a lane below it for each kind of spans, and the space before the next row."""

Colour = tuple[int, int, int]
_SYNCED, _ABSENT, _TEXT, _AXIS = (66, 133, 200), (222, 222, 222), (40, 40, 40), (120, 120, 120)
_MARKS = ((230, 145, 56), (204, 0, 0), (106, 168, 79), (142, 99, 180), (60, 60, 60), (0, 150, 150), (200, 90, 150))
"""Colours of spans, in the order in which their names first occur."""
_LANE_SPACE = 2
_LINE_HEIGHT = 22
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
    names = list(dict.fromkeys(name for person in people for name in _shown_spans(person)))
    colours = {name: _MARKS[number % len(_MARKS)] for number, name in enumerate(names)}
    font = ImageFont.load_default(13)
    *tops, bottom = row_tops(people)
    legend = _legend({"generated": _SYNCED, "unchanged": _ABSENT, **colours}, bottom + 2 * _LINE_HEIGHT, font)
    image = Image.new("RGB", (WIDTH, legend[-1][1] + _LINE_HEIGHT + MARGIN), "white")
    drawing = _Drawing(ImageDraw.Draw(image), font, (WIDTH - LABEL_WIDTH - MARGIN) / max(num_frames, 1))
    for top, person in zip(tops, people, strict=True):
        drawing.row(top, person, colours)
    drawing.axis(num_frames, fps, bottom)
    for x, y, name, colour in legend:
        drawing.draw.rectangle((x, y + 2, x + 12, y + 14), fill=colour)
        drawing.draw.text((x + 18, y), name, fill=_TEXT, font=font)
    note = PngInfo()
    note.add_text("Software", MADE_BY)
    with atomic_write(path) as beside:
        image.save(beside, "PNG", pnginfo=note)


def row_tops(people: Sequence[PersonReport]) -> list[int]:
    """Return the upper ends of all rows in pixels, and the lower end of the last one."""
    heights = [BAR_HEIGHT + LANE_HEIGHT * len(_shown_spans(person)) + ROW_GAP for person in people]
    return list(accumulate(heights, initial=MARGIN))


@dataclass(frozen=True)
class _Drawing:
    """The image under work; `scale` is the width of a frame in pixels."""

    draw: ImageDraw.ImageDraw
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    scale: float

    def row(self, top: int, person: PersonReport, colours: Mapping[str, Colour]) -> None:
        """Draw the label, the bar and the lanes of a person."""
        label = _shortened(f"{person.name}: {person.speech.name}", self.font)
        self.draw.text((MARGIN, top + 2), label, fill=_TEXT, font=self.font)
        for interval in person.intervals:
            colour = _SYNCED if interval.has_face else _ABSENT
            self._span((interval.start, interval.stop), top, BAR_HEIGHT, colour)
        for lane, (name, spans) in enumerate(_shown_spans(person).items()):
            for span in spans:
                lane_top = top + BAR_HEIGHT + lane * LANE_HEIGHT + _LANE_SPACE
                self._span(span, lane_top, LANE_HEIGHT - _LANE_SPACE, colours[name])

    def axis(self, num_frames: int, fps: float, bottom: int) -> None:
        """Draw lines with their times, down to the lower end of the rows."""
        for seconds in _ticks(num_frames / fps):
            x = LABEL_WIDTH + seconds * fps * self.scale
            self.draw.line((x, MARGIN, x, bottom), fill=_AXIS)
            if x + 2 + self.font.getlength(f"{seconds:g} s") <= WIDTH:
                self.draw.text((x + 2, bottom), f"{seconds:g} s", fill=_TEXT, font=self.font)

    def _span(self, span: Span, top: int, height: int, colour: Colour) -> None:
        left, right = (LABEL_WIDTH + frame * self.scale for frame in span)
        self.draw.rectangle((left, top, max(right - 1, left + 1), top + height - 1), fill=colour)


def _shown_spans(person: PersonReport) -> dict[str, Sequence[Span]]:
    return {name: spans for name, spans in person.spans.items() if spans}


def _legend(
    colours: Mapping[str, Colour], top: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[tuple[int, int, str, Colour]]:
    """Return place, name and colour of all entries, in lines as wide as the time axis."""
    places, x, y = [], LABEL_WIDTH, top
    for name, colour in colours.items():
        width = 40 + round(font.getlength(name))
        if x > LABEL_WIDTH and x + width > WIDTH:
            x, y = LABEL_WIDTH, y + _LINE_HEIGHT
        places.append((x, y, name, colour))
        x += width
    return places


def _ticks(seconds: float) -> list[float]:
    step = next((step for step in _TICK_STEPS_S if seconds / step <= _MAX_TICKS), _TICK_STEPS_S[-1])
    return [number * step for number in range(int(seconds / step) + 1)]


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, cut to the width of a label."""
    while font.getlength(text) > LABEL_WIDTH - 2 * MARGIN:
        text = f"{text.rstrip('.')[:-1]}..."
    return text
