import pytest

from latentsync.app.page_text import duration, error_html, options_line, status_html, summary_markdown, sync_lines
from latentsync.app.sync_comparison import SyncComparison
from latentsync.jobs.job import JobState, JobView, StageProgress
from latentsync.judges.sync_score import SyncScore
from latentsync.pipelines.options import LipsyncOptions


def test_running_shows_stage_progress_and_remaining_time():
    progress = StageProgress("lips", 10, 40, 0.0, 5.0)
    html = status_html(JobView(JobState.RUNNING, progress=progress, seconds_left=15.2))
    assert "generating lips: 25 %, about 15 s left" in html
    assert "width:25.0%" in html
    assert 'data-state="running"' in html


def test_waiting_shows_the_number_of_jobs_ahead():
    assert "1 job ahead" in status_html(JobView(JobState.QUEUED, ahead=1))
    assert "3 jobs ahead" in status_html(JobView(JobState.QUEUED, ahead=3))


def test_text_of_visitors_is_escaped_and_in_one_line():
    html = error_html('<img src=x onerror="alert(1)">.mp4\nis empty')
    assert "<img" not in html
    assert "error: &lt;img" in html
    assert "\n" not in html


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (7200, "2.0 h")])
def test_durations_are_rounded(seconds: float, text: str):
    assert duration(seconds) == text


SYNC = SyncComparison("a scorer", SyncScore(-3, 0.125, 0.5), SyncScore(0, 0.75, 0.2))


def test_the_summary_has_both_scores_their_scorer_and_the_report():
    text = summary_markdown(SYNC, ["25 frames, 25 synced", "face <b>"])
    assert "measured by a scorer" in text
    assert "| the source video | 0.12 | -3 frames |" in text
    assert "| the result | 0.75 | 0 frames |" in text
    assert "* 25 frames, 25 synced" in text
    assert "<b>" not in text


def test_the_text_file_has_the_same_scores():
    assert sync_lines(SYNC)[1:] == [
        "  before: confidence 0.12, offset -3 frames",
        "  after: confidence 0.75, offset 0 frames",
    ]
    assert sync_lines(SyncComparison("a scorer", reason="too short")) == ["sync: not measured (too short)"]


def test_options_are_listed():
    line = options_line(LipsyncOptions(num_inference_steps=7, seed=3, face="1"))
    assert "steps 7" in line
    assert "seed 3" in line
    assert "timestep spacing leading, guided from 0 to 1, face 1," in line


def test_options_of_the_scene_are_listed_unless_they_are_the_default():
    assert options_line(LipsyncOptions()).endswith("overlap 4")
    line = options_line(LipsyncOptions(silence="close", sync_mode="loop", max_yaw=35, occluder="hand.mkv"))
    assert line.endswith(
        "silence close, sync mode loop, largest turn of the head 35 degrees, things in front of the face hand.mkv"
    )
    assert options_line(LipsyncOptions(occluder="auto")).endswith("things in front of the face found by XSeg")


def test_the_options_of_several_voices_name_their_faces():
    line = options_line(LipsyncOptions(), ["left", "100,50"])
    assert "faces left and 100,50, 25 frames per second" in line
