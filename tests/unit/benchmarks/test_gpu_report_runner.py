import pytest
import torch

from benchmarks.gpu_report.document import facts, markdown
from benchmarks.gpu_report.runner import measured_rows, run_apart, run_sections
from benchmarks.gpu_report.section import FAILED, MEASURED, NOT_MEASURED, SIZES, Section, SectionResult, Setup
from tests.fake_sections import DYING, HANGING, RAISING, UNMADE

SETUP = Setup(SIZES["tiny"], torch.device("cpu"))


def statuses(result: SectionResult) -> list[str]:
    return [row.status for row in result.rows]


def run(*sections: Section) -> list[SectionResult]:
    return run_sections(sections, SETUP, seconds=600, one_process=True, report=lambda result: None)


def test_a_failing_case_is_reported_in_one_line_and_the_others_still_run():
    result, later = run(RAISING, RAISING)
    assert statuses(result) == statuses(later) == [MEASURED, FAILED, MEASURED]
    assert result.rows[1].reason == "RuntimeError: no kernel image"
    assert result.num_failed == 1


def test_a_section_whose_cases_cannot_be_made_is_reported():
    (result,) = run(UNMADE)
    assert statuses(result) == [MEASURED, FAILED]
    assert "cannot be built" in result.rows[1].reason


def test_cases_beyond_the_budget_are_not_measured():
    rows = list(measured_rows(RAISING, SETUP, budget=0))
    assert [row.status for row in rows] == [NOT_MEASURED] * 3
    assert "--minutes" in rows[0].reason


def test_a_process_that_dies_is_reported_with_what_it_had_measured():
    before, ended = run_apart(DYING, SETUP, budget=600, stop_after=600)
    assert (before.status, ended.status) == (MEASURED, FAILED)
    assert "after 'before'" in ended.case
    assert "status 3" in ended.reason


def test_a_process_that_hangs_is_stopped():
    before, ended = run_apart(HANGING, SETUP, budget=600, stop_after=5)
    assert (before.status, ended.status) == (MEASURED, FAILED)
    assert "stopped" in ended.reason


def test_the_document_names_device_sizes_and_what_has_no_figures():
    text = markdown(facts(SETUP), run(RAISING))
    assert "cpu" in text.splitlines()[0]
    assert "Tiny sizes" in text
    assert "No accelerator" in text
    assert "| before | 1 |" in text
    assert "* failed: broken: RuntimeError: no kernel image" in text


@pytest.mark.parametrize("size", list(SIZES))
def test_published_sizes_carry_no_warning_of_tiny_ones(size):
    text = markdown(facts(Setup(SIZES[size], torch.device("cpu"))), [])
    assert ("Tiny sizes" in text) == (size == "tiny")
