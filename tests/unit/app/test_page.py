from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from latentsync.app.lipsync_service import LipsyncOutcome, Sessions
from latentsync.app.page import _Page, names_address
from latentsync.app.page_events import finite_number, integer
from latentsync.app.scene_controls import occluder_option, yaw_option
from latentsync.app.sync_comparison import SyncComparison
from latentsync.errors import InputError


def test_numbers_of_the_page():
    assert integer("seed", 3.0) == 3
    assert finite_number("guidance", 1.5) == 1.5


def test_the_largest_yaw_is_no_limit():
    assert yaw_option(90) is None
    assert yaw_option(35) == 35


def test_masks_are_given_or_found_and_not_both():
    assert occluder_option(None, False) is None
    assert occluder_option("hand.mkv", False) == "hand.mkv"
    assert occluder_option(None, True) == "auto"
    with pytest.raises(InputError, match="choose one of both"):
        occluder_option("hand.mkv", True)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "3"])
def test_empty_fields_are_one_line(value):
    with pytest.raises(InputError, match="seed is empty"):
        integer("seed", value)


def test_a_fraction_of_a_step_is_rejected():
    with pytest.raises(InputError, match=r"steps is 2.5"):
        integer("steps", 2.5)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([{"path": "http://127.0.0.1/x.mp4"}, 20], True),
        ([{"video": {"path": "https://example.com/x.mp4"}}], True),
        ([[("a", {"path": "https://example.com"})]], True),
        ([{"path": "/tmp/x/video.mp4", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/x/video.mp4"}], False),
        ([None, "http://in.a.text.box", 3], False),
    ],
)
def test_only_files_at_addresses_are_found(data: list, expected: bool):
    assert names_address(data) is expected


def test_the_timeline_tab_is_shown_for_a_result_that_has_one():
    files = Path("lipsync.mp4"), Path("compare.mp4"), Path("sheet.jpg"), Path("summary.txt")
    plain = LipsyncOutcome(*files, SyncComparison("a scorer"), [])
    jobs = {"one": plain, "two": replace(plain, timeline=Path("timeline.png")), "running": None}
    page = object.__new__(_Page)
    found = {job_id: SimpleNamespace(result=result) for job_id, result in jobs.items()}
    page.sessions = cast(Sessions, SimpleNamespace(find=found.get))
    shown, tab = page.show_timeline("two")
    assert (shown, tab["visible"]) == ("timeline.png", True)
    for job_id in ("one", "running", "unknown", ""):
        shown, tab = page.show_timeline(job_id)
        assert (shown, tab["visible"]) == (None, False)
