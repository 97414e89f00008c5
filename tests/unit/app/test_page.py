import pytest

from latentsync.app.page import number, whole
from latentsync.errors import InputError


def test_numbers_of_the_page():
    assert whole("seed", 3.0) == 3
    assert number("guidance", 1.5) == 1.5


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "3"])
def test_empty_fields_are_one_line(value):
    with pytest.raises(InputError, match="seed is empty"):
        whole("seed", value)


def test_half_a_step_is_refused():
    with pytest.raises(InputError, match=r"steps is 2.5"):
        whole("steps", 2.5)
