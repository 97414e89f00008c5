"""The order of source frames in a result: that of its record, and none if nothing tells it."""

from dataclasses import replace
from pathlib import Path

import pytest

from eval.source_order import repeat_of, shown_frame
from latentsync.errors import NotMeasured
from latentsync.media.repeated_reader import Repeat
from tests.unit.eval.made_clips import pair_of, record_of


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({"sync_mode": "bounce"}, [0, 1, 2, 1, 0, 1]),
        ({"sync_mode": "silence"}, [0, 1, 2, 1, 0, 1]),
        ({"sync_mode": "loop"}, [0, 1, 2, 0, 1, 2]),
        ({"sync_mode": "freeze"}, [0, 1, 2, 2, 2, 2]),
        ({"sync_mode": "bounce", "exact": True}, [0, 1, 2, 2, 1, 0]),
        ({"num_inference_steps": 20}, [0, 1, 2, 1, 0, 1]),  # of a version that had no other mode
    ],
)
def test_the_order_is_that_of_the_record(tmp_path: Path, options: dict[str, object], frames: list[int]):
    pair = replace(pair_of(), report=record_of(tmp_path, {"options": options}))
    repeat = repeat_of(pair)
    assert [shown_frame(index, 3, repeat) for index in range(6)] == frames


@pytest.mark.parametrize("settings", [{}, {"options": {"sync_mode": "swing"}}, {"options": []}, None])
def test_a_record_that_does_not_tell_is_refused(tmp_path: Path, settings: object):
    with pytest.raises(NotMeasured, match=r"record\.json does not tell how the source was repeated"):
        repeat_of(replace(pair_of(), report=record_of(tmp_path, settings)))


def test_without_a_record_only_rounded_lengths_are_measured():
    assert repeat_of(pair_of()) is None
    assert [shown_frame(index, 3, None) for index in range(5)] == [0, 1, 2, 2, 2]
    with pytest.raises(NotMeasured, match="longer than its source, and no record tells"):
        shown_frame(5, 3, None)
    assert repeat_of(replace(pair_of(), report=Path("no such file"))) is None
    assert shown_frame(5, 3, Repeat.FREEZE) == 2
