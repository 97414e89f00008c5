"""Plans of segments, and the windows that each of them needs."""

from itertools import pairwise

import pytest

from latentsync.pipelines.held_reference import HeldReference
from latentsync.pipelines.segments import Segment, WindowRange, batches_of, plan_segments
from latentsync.pipelines.windows import FaceInterval, PlannedWindow, windows_of


def planned(*lengths: int, overlap: int = 4) -> list[PlannedWindow]:
    """Return the windows of intervals with the face; negative lengths are frames without it."""
    windows, start = [], 0
    for length in lengths:
        interval = FaceInterval(start, start + abs(length), length > 0)
        windows += windows_of(interval, 16, overlap) if interval.has_face else []
        start = interval.stop
    return windows


def first_of_interval(interval: FaceInterval, frame: int) -> int:
    return interval.start


def itself(interval: FaceInterval, frame: int) -> int:
    return frame


def test_windows_of_an_interval():
    windows = planned(-5, 40)
    assert [(each.start, each.stop, each.first_new, each.settled) for each in windows] == [
        *((5, 21, 5, 17), (17, 33, 21, 29), (29, 45, 33, 45)),
    ]


@pytest.mark.parametrize("num_segments", [1, 2, 3, 7])
def test_segments_cover_the_result_once_and_cut_between_new_frames(num_segments: int):
    windows = planned(300, -100, 500)
    segments = plan_segments([windows], 900, num_segments)
    assert (segments[0].start, segments[-1].stop, len(segments)) == (0, 900, num_segments)
    assert all(one.stop == other.start for one, other in pairwise(segments))
    assert {segment.start for segment in segments[1:]} <= {each.first_new for each in windows} | {300}
    generated = [sum(1 for i in range(each.start, each.stop) if not 300 <= i < 400) for each in segments]
    assert max(generated) - min(generated) <= 24


def test_short_results_have_fewer_segments():
    assert plan_segments([planned(60)], 60, 8) == [Segment(0, 60)]
    assert len(plan_segments([planned(200)], 200, 8)) == 3
    assert len(plan_segments([planned(200), planned(200)], 200, 8)) == 6
    assert plan_segments([planned(-3000)], 3000, 8) == [Segment(0, 3000)]


def test_a_cut_between_new_frames_costs_one_window():
    windows = planned(112)  # starts at 0, 12, ... 96
    before, after = (WindowRange.of(segment, windows, 1, itself) for segment in (Segment(0, 52), Segment(52, 112)))
    assert (before.first_read, before.stop_read) == (0, 64)
    assert (before.first_generated, before.last_generated) == (0, 48)
    assert (after.first_generated, after.last_generated) == (48, 96)
    assert (after.first_encoded, after.first_crop, after.first_read) == (36, 40, 40)  # the window that shares frames


def test_all_windows_with_a_frame_are_generated_and_their_frames_encoded():
    windows = planned(112, overlap=12)
    chosen = WindowRange.of(Segment(50, 60), windows, 1, itself)
    assert (chosen.first_generated, chosen.last_generated) == (36, 56)
    assert chosen.first_encoded == 24  # the first one with frame 36
    assert (chosen.first_read, chosen.stop_read) == (36, 72)


def test_batches_are_those_of_the_whole_job():
    windows = planned(40, 40, -1, 28, 10)
    batches = [[each.start for each in batch] for batch in batches_of(windows, 4)]
    assert batches == [[0, 12, 24, 40], [52, 64], [81, 93], [109]]
    chosen = WindowRange.of(Segment(45, 50), windows, 4, itself)
    assert (chosen.first_generated, chosen.last_generated) == (0, 40)
    assert (chosen.first_read, chosen.stop_read) == (0, 56)


def test_what_is_remembered_is_read():
    windows = planned(20, 80)
    chosen = WindowRange.of(Segment(60, 100), windows, 1, first_of_interval)
    assert (chosen.first_read, chosen.first_crop) == (20, 20)


def test_a_segment_without_the_face_needs_nothing():
    chosen = WindowRange.of(Segment(30, 40), planned(20, -60, 20), 1, itself)
    assert (chosen.first_read, chosen.stop_read) == (30, 40)
    assert not any(chosen.crops(each) or chosen.encodes(each) for each in planned(20, -60, 20))


@pytest.mark.parametrize(
    ("frame", "expected"), [(3, 3), (9, 9), (10, 10), (13, 10), (14, 14), (17, 14), (20, 18), (23, 23)]
)
def test_a_reference_image_is_held_from(frame: int, expected: int):
    held = HeldReference(lambda i: 5 <= i < 9 or 10 <= i < 21, max_frames=4)
    assert held.held_from(0, frame) == expected
    assert held.held_from(12, 14) == 12
