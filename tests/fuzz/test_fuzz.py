"""A few cases of every property, the same ones each time; ``python -m benchmarks.fuzz`` runs thousands."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.properties import PROPERTIES

NUM_CASES = {
    "video": 10,
    "speech": 10,
    "checkpoint": 10,
    "configuration": 20,
    "list": 20,
    "API": 30,
    "service": 200,
    "adapted": 20,
    "footage": 10,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPERTIES)
def test_hostile_input_ends_in_one_line_or_a_whole_result(name: str) -> None:
    @settings(
        max_examples=NUM_CASES[name],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.deferred(PROPERTIES[name]))
    def holds(case) -> None:
        case()

    holds()
