"""The timeline image and the spans of the report."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from latentsync.pipelines.lipsync_job import LipsyncOutputs
from latentsync.pipelines.report import LipsyncReport, PersonReport, spans_of
from latentsync.pipelines.timeline import (
    BAR_HEIGHT,
    LABEL_WIDTH,
    LANE_HEIGHT,
    MARGIN,
    WIDTH,
    row_tops,
    write_timeline,
)
from latentsync.pipelines.windows import FaceInterval

LEFT = PersonReport(
    "left",
    Path("a speech with a very long name, longer than its label.wav"),
    [FaceInterval(0, 50, True), FaceInterval(50, 100, False)],
    {"turned away": [(10, 20)], "silent": []},
)
RIGHT = PersonReport("right", Path("b.wav"), [FaceInterval(0, 100, True)], {"silent": [(0, 100)]})


def test_spans_are_the_true_parts():
    assert spans_of([True, True, False, True]) == [(0, 2), (3, 4)]
    assert spans_of([True, True, False, True], 1.5) == [(0, 2)]
    assert spans_of([]) == spans_of([False]) == []


def test_every_person_has_a_row_with_gaps_and_spans(tmp_path: Path):
    path = tmp_path / "timeline.png"
    write_timeline([LEFT, RIGHT], 100, 25.0, path)
    picture = np.asarray(Image.open(path))
    assert picture.shape[1] == WIDTH
    scale = (WIDTH - LABEL_WIDTH - MARGIN) / 100

    tops = row_tops([LEFT, RIGHT])

    def colour(row: int, frame: float, y: int = 5) -> tuple[int, ...]:
        return tuple(picture[tops[row] + y, round(LABEL_WIDTH + frame * scale)])

    generated, absent = colour(0, 30.5), colour(0, 60.5)
    assert generated == colour(1, 60.5) != absent
    lane = BAR_HEIGHT + 4
    assert colour(0, 15.5, lane) != colour(0, 5.5, lane) == (255, 255, 255)
    assert colour(1, 15.5, lane) not in (colour(0, 15.5, lane), (255, 255, 255))


def test_spans_that_overlap_have_lanes_of_their_own_and_a_legend_within_the_image(tmp_path: Path):
    kinds = [f"something long that happens to a person, number {number}" for number in range(6)]
    busy = replace(LEFT, spans={kind: [(10, 60)] for kind in kinds})
    path = tmp_path / "timeline.png"
    write_timeline([busy], 100, 25.0, path)
    image = np.asarray(Image.open(path))
    x = round(LABEL_WIDTH + 30.5 * (WIDTH - LABEL_WIDTH - MARGIN) / 100)
    top = row_tops([busy])[0] + BAR_HEIGHT + 4
    assert len({tuple(image[top + lane * LANE_HEIGHT, x]) for lane in range(6)}) == 6
    assert (image[:, -MARGIN // 2 :] == 255).all()
    assert (image[-MARGIN:] == 255).all()


def test_the_timeline_replaces_only_a_file_of_this_program(tmp_path: Path):
    outputs = LipsyncOutputs.of(tmp_path / "a b.mp4", compare=False, timeline=True)
    assert outputs.timeline == tmp_path / "a b_timeline.png"
    assert outputs.timeline is not None
    write_timeline([RIGHT], 100, 25.0, outputs.timeline)
    outputs.check([])


def test_spans_are_in_the_report():
    report = LipsyncReport(Path("out.mp4"), [], 100, [LEFT, RIGHT], 25.0, 1.0, 4.0, 100.0, None)
    lines = report.lines()
    assert "face right (b.wav): silent: 0.00-4.00 s" in lines
    assert any(line.endswith("turned away: 0.40-0.80 s") for line in lines)
    assert not any("face left" in line and "silent" in line for line in lines)
    assert report.values()["people"][0]["spans"] == {"turned away": [[10, 20]], "silent": []}
