from pathlib import Path

import pytest

from latentsync.jobs.job import Job, JobState, JobStopped


class Clock:
    """A clock that is advanced by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_job(clock: Clock) -> Job:
    job = Job("id", Path("folder"), lambda job: None, grace_seconds=10, clock=clock)
    job.begin()
    return job


def test_the_remaining_time_follows_the_pace_of_the_stage_and_counts_down():
    clock = Clock()
    job = make_job(clock)
    clock.now += 4
    job.report("faces", 20, 100)
    assert job.view().seconds_left == pytest.approx(16)
    clock.now += 3
    assert job.view().seconds_left == pytest.approx(13)
    assert job.view().seconds_running == pytest.approx(7)


def test_a_new_stage_starts_at_the_last_report_of_the_previous_one():
    clock = Clock()
    job = make_job(clock)
    clock.now += 4
    job.report("faces", 100, 100)
    clock.now += 6
    job.report("lips", 10, 40)
    assert job.view().seconds_left == pytest.approx(18)


def test_progress_never_goes_back_within_a_stage():
    job = make_job(Clock())
    job.report("lips", 12, 40)
    job.report("lips", 3, 40)
    progress = job.view().progress
    assert progress is not None
    assert progress.done == 12


def test_the_remaining_time_is_unknown_before_the_first_progress():
    job = make_job(Clock())
    assert job.view().seconds_left is None
    job.report("lips", 0, 40)
    assert job.view().seconds_left is None


def test_a_cancelled_job_stops_at_its_next_report():
    job = make_job(Clock())
    job.report("lips", 1, 2)
    job.cancel()
    with pytest.raises(JobStopped):
        job.report("lips", 2, 2)


def test_a_job_that_no_page_polls_stops_after_the_grace_time():
    clock = Clock()
    job = make_job(clock)
    clock.now += 9
    job.seen()
    clock.now += 9
    job.report("lips", 1, 2)
    clock.now += 2
    with pytest.raises(JobStopped):
        job.report("lips", 2, 2)
    assert job.state is JobState.RUNNING
