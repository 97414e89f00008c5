from pathlib import Path

import pytest

from eval.results import badness, extremes, rankings, read_results, write_results
from latentsync.errors import InputError
from tests.unit.eval.made_results import ERROR, OFFSET, SCORE, made_results


def test_results_read_back_as_they_were(tmp_path: Path):
    results = made_results({"model": {"a": {"score": 0.1}, "b": {"score": 0.7, "error": 2.0}}})
    write_results(results, tmp_path / "results.json")
    read = read_results(tmp_path)
    assert read == results == read_results(tmp_path / "results.json")
    assert read.summaries() == results.summaries()
    summary = read.summary("cross_audio", "model", "error")
    assert summary is not None
    assert summary.interval.num == 1


def test_other_files_are_no_reports(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path)
    for content in ("{", "[]", '{"format": 1}', '{"format": 99}'):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(InputError, match=r"results\.json"):
            read_results(tmp_path)


def test_badness_grows_as_a_value_gets_worse():
    assert badness(SCORE, 0.9) < badness(SCORE, 0.1)
    assert badness(ERROR, 0.1) < badness(ERROR, 0.9)
    assert badness(OFFSET, 0.0) < badness(OFFSET, -1.0) == badness(OFFSET, 1.0) < badness(OFFSET, 3.0)


def test_the_worst_and_the_best_five():
    names = {f"v{number:02d}": {"score": float(number), "error": float(number), "offset": 0.0} for number in range(12)}
    results = made_results({"model": names, "ground_truth": names})
    ranked = {one.quantity.name: one for one in rankings(results, "cross_audio")}
    assert [video.name for video in ranked["score"].worst] == ["v00", "v01", "v02", "v03", "v04"]
    assert [video.name for video in ranked["score"].best] == ["v11", "v10", "v09", "v08", "v07"]
    assert [video.name for video in ranked["error"].worst] == ["v11", "v10", "v09", "v08", "v07"]
    assert "offset" not in ranked  # nothing stands out
    assert {one.row for one in ranked.values()} == {"model"}  # controls are not ranked
    worst, best = extremes(SCORE, results.of("cross_audio", "model")[:3])
    assert len(worst) == 2
    assert len(best) == 1
