import pytest

from latentsync.app.job import JobState, JobView, StageProgress
from latentsync.app.status_line import duration, error_html, status_html


def test_running_says_stage_share_and_time_left():
    progress = StageProgress("lips", 10, 40, 0.0, 5.0)
    html = status_html(JobView(JobState.RUNNING, progress=progress, seconds_left=15.2))
    assert "painting lips: 25 %, about 15 s left" in html
    assert "width:25.0%" in html
    assert 'data-state="running"' in html


def test_waiting_says_how_many_come_first():
    assert "1 job ahead" in status_html(JobView(JobState.WAITING, ahead=1))
    assert "3 jobs ahead" in status_html(JobView(JobState.WAITING, ahead=3))


def test_what_visitors_named_is_escaped_and_kept_in_one_line():
    html = error_html('<img src=x onerror="alert(1)">.mp4\nis empty')
    assert "<img" not in html
    assert "error: &lt;img" in html
    assert "\n" not in html


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (7200, "2.0 h")])
def test_durations_are_for_people(seconds: float, text: str):
    assert duration(seconds) == text
