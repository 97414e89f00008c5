from latentsync.app.summary import options_line, summary_markdown, verdict_lines
from latentsync.app.sync_verdict import SyncVerdict
from latentsync.judges.sync_score import SyncScore
from latentsync.pipelines.options import LipsyncOptions

VERDICT = SyncVerdict("a judge", SyncScore(-3, 0.125, 0.5), SyncScore(0, 0.75, 0.2))


def test_the_summary_has_both_scores_their_judge_and_what_was_done():
    text = summary_markdown(VERDICT, ["25 frames, 25 synced", "face <b>"])
    assert "judged by a judge" in text
    assert "| the video as it came | 0.12 | -3 frames |" in text
    assert "| the result | 0.75 | 0 frames |" in text
    assert "* 25 frames, 25 synced" in text
    assert "<b>" not in text


def test_the_text_file_says_the_same():
    assert verdict_lines(VERDICT)[1:] == [
        "  before: confidence 0.12, offset -3 frames",
        "  after: confidence 0.75, offset 0 frames",
    ]
    assert verdict_lines(SyncVerdict("a judge", reason="too short")) == ["sync: not judged (too short)"]


def test_choices_are_written_down():
    line = options_line(LipsyncOptions(num_inference_steps=7, seed=3, face="1"))
    assert "steps 7" in line
    assert "seed 3" in line
    assert "face 1," in line
