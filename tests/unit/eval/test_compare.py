import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.bootstrap import bootstrap_mean
from eval.compare import compare, main
from eval.results import write_results
from latentsync.errors import InputError
from tests.unit.eval.made_results import made_results


def row_of(values: np.ndarray, **others: float) -> dict[str, dict[str, float]]:
    return {f"v{number:02d}": {"score": float(value), **others} for number, value in enumerate(values)}


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    first = rng.normal(0.0, 10.0, 20)
    gain = rng.normal(0.5, 0.1, 20)
    found = compare(made_results({"model": row_of(first)}), made_results({"model": row_of(first + gain)}))
    (score,) = found.differences
    # unpaired, a gain of 0.5 would drown among differences of 10 between videos
    assert score.verdict == "B is better"
    alone = bootstrap_mean(gain.tolist(), 0)
    assert alone is not None
    assert (score.difference.low, score.difference.high) == pytest.approx((alone.low, alone.high))
    assert score.mean_b - score.mean_a == pytest.approx(gain.mean())
    back = compare(made_results({"model": row_of(first + gain)}), made_results({"model": row_of(first)}))
    assert back.differences[0].verdict == "A is better"


def test_a_lower_error_is_better_and_noise_shows_nothing():
    rng = np.random.default_rng(1)
    first = {
        f"v{number}": {"error": 2.0 + 0.01 * number, "offset": -3.0, "score": value}
        for number, value in enumerate(rng.normal(size=12))
    }
    second = {
        name: {"error": 1.0, "offset": 1.0, "score": value}
        for name, value in zip(first, rng.normal(size=12), strict=True)
    }
    found = compare(made_results({"model": first}), made_results({"model": second}))
    assert {one.quantity: one.verdict for one in found.differences} == {
        "error": "B is better",
        "offset": "B is better",
        "score": "no difference is shown",
    }


def test_only_what_both_have_is_compared_and_the_rest_is_said():
    first = made_results({"model": row_of(np.arange(5.0)), "old": row_of(np.arange(5.0))})
    second = made_results({"model": row_of(np.arange(3.0))})
    failed = [replace(video, error="gone", values={}) if video.name == "v00" else video for video in second.videos]
    found = compare(first, replace(second, videos=failed))
    assert [(one.row, one.difference.num) for one in found.differences] == [("model", 2)]
    assert "cross_audio, model: 3 videos in common, of 5 in A and 3 in B" in found.notes
    assert "cross_audio, model: of those in common 0 failed in A and 1 in B" in found.notes
    assert found.sets == [("cross_audio", "model", "whole", 5.0, 5.0)]


def test_other_inputs_or_another_metric_are_not_compared():
    first = made_results({"model": row_of(np.arange(4.0))})
    with pytest.raises(InputError, match="0 videos in common"):
        compare(replace(first, sets=[]), made_results({"model": row_of(np.arange(4.0))}, source="other"))
    with pytest.raises(InputError, match="hand: skipped, its version or its weights differ"):
        compare(replace(first, sets=[]), made_results({"model": row_of(np.arange(4.0))}, version=2))


def test_two_rows_of_one_report_can_be_compared():
    results = made_results({"old": row_of(np.arange(4.0)), "new": row_of(np.arange(4.0) + 1)})
    found = compare(results, results, "old", "new")
    assert [(one.row, one.verdict) for one in found.differences] == [("old, new", "B is better")]
    with pytest.raises(InputError, match="belong together"):
        compare(results, results, "old", None)


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, shift in (("a", 0.0), ("b", 1.0)):
        (tmp_path / name).mkdir()
        write_results(made_results({"model": row_of(np.arange(4.0) + shift)}), tmp_path / name / "results.json")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main([*folders, "--out", str(tmp_path / "c.md")]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "c.md").read_text() == printed
    assert "| score ↑ | 4 | 1.5 | 2.5 | 1 \\[1, 1\\] | B is better |" in printed
    assert main([*folders, "--out", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["differences"][0]["difference"]["num"] == 4
    assert main([folders[0], str(tmp_path / "nowhere")]) == 2
    assert main([*folders, "--out", str(tmp_path / "c.txt")]) == 2
    before = Path(folders[0], "results.json").read_bytes()
    assert main([*folders, "--out", str(Path(folders[0], "results.json"))]) == 2
    assert "is also an input" in capsys.readouterr().err
    assert Path(folders[0], "results.json").read_bytes() == before
