import pytest

from latentsync.app.page import names_address
from latentsync.app.page_events import finite_number, integer
from latentsync.app.scene_controls import occluder_option, yaw_option
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
