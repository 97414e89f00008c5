from itertools import pairwise

import pytest
import torch

from latentsync.pipelines.windows import FaceInterval, WindowBlender, find_intervals, plan_windows, published_length


def test_intervals_end_at_gaps_and_at_cuts():
    segments = [0, 0, 0, -1, -1, 1, 1, 2]
    assert find_intervals(segments, 8, lambda i: i) == [
        FaceInterval(0, 3, True),
        FaceInterval(3, 5, False),
        FaceInterval(5, 7, True),
        FaceInterval(7, 8, True),
    ]


def test_an_interval_continues_where_the_video_reverses():
    segments = [-1, 0, 0]
    order = [0, 1, 2, 2, 1, 0]
    assert find_intervals(segments, 6, order.__getitem__) == [
        FaceInterval(0, 1, False),
        FaceInterval(1, 5, True),
        FaceInterval(5, 6, False),
    ]


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 28, 29, 30, 100])
@pytest.mark.parametrize("overlap", [0, 1, 4, 15])
def test_windows_cover_every_frame_whole(length: int, overlap: int):
    spans = list(plan_windows(length, 16, overlap))
    assert {i for span in spans for i in range(span.start, span.stop)} == set(range(length))
    assert all(span.stop - span.start == min(16, length) for span in spans)
    assert all(b.start - a.start <= 16 - overlap and b.start > a.start for a, b in pairwise(spans))
    assert [span.settled for span in spans] == [*(span.start for span in spans[1:]), length]


@pytest.mark.parametrize(
    ("length", "expected"), [(32, [(0, 16), (16, 32)]), (33, [(0, 16), (16, 32), (32, 33)]), (5, [(0, 5)])]
)
def test_the_last_published_window_has_what_is_left(length: int, expected: list[tuple[int, int]]):
    spans = list(plan_windows(length, 16, 0, short_last=True))
    assert [(span.start, span.stop) for span in spans] == expected
    assert all(span.settled == span.stop for span in spans)


@pytest.mark.parametrize("num_samples", [320, 16000, 32000, 32159, 32320, 32640, 160000])
@pytest.mark.parametrize("fps", [25, 30])
def test_published_frames_are_counted_up_to_the_first_beyond_the_rows(num_samples: int, fps: int):
    num_rows, count = num_samples // 160 // 2, 0
    while int(count * (50 / fps)) <= num_rows:
        count += 1
    assert published_length(num_samples, fps) == count + 1


def test_without_overlap_only_the_last_window_shares_frames():
    assert [(s.start, s.stop) for s in plan_windows(40, 16, 0)] == [(0, 16), (16, 32), (24, 40)]


def window(value: float, num_frames: int) -> torch.Tensor:
    return torch.full((num_frames, 3, 1, 1), value)


def test_shared_frames_move_evenly_from_the_old_window_to_the_new():
    blender = WindowBlender()
    first = list(blender.add(window(0.0, 6), 3))
    second = list(blender.add(window(4.0, 6), 6))
    assert [float(f.mean()) for f in first + second] == [0, 0, 0, 1, 2, 3, 4, 4, 4]


def test_equal_windows_are_not_changed():
    blender = WindowBlender()
    frames = torch.rand(12, 3, 2, 2)
    out = [*blender.add(frames[:8], 4), *blender.add(frames[4:], 8)]
    torch.testing.assert_close(torch.stack(out), frames)
