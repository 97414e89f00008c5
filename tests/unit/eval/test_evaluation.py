import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.evaluation import evaluate
from eval.metrics.metric import AnyMetric
from eval.pairs import Pair
from eval.results import Results
from eval.video_measurement import Settings
from latentsync.errors import CheckpointError
from tests.unit.eval.fakes import (
    NUM_FRAMES,
    Brightness,
    Broken,
    Colours,
    Infinite,
    Recorded,
    Refusing,
    Weightless,
    grey_pairs,
    level_of,
    open_clips,
)

LEVELS = (60, 100, 180)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    return grey_pairs(tmp_path_factory.mktemp("videos"), LEVELS)


def run(pairs: Sequence[Pair], metrics: Sequence[AnyMetric], cache: Path, is_strict: bool = False) -> Results:
    with open_clips(cache) as clips:
        return evaluate(pairs, metrics, Settings(cache, torch.device("cpu"), is_strict=is_strict), clips)


def test_values_means_and_facts_of_the_run(pairs: list[Pair], tmp_path: Path):
    results = run(pairs, [Brightness()], tmp_path)
    levels = [video.values["level"] for video in results.videos]
    assert levels == pytest.approx(LEVELS, abs=2.5)
    summary = results.summary("reconstruction", "model", "level")
    assert summary is not None
    assert summary.interval.mean == pytest.approx(np.mean(levels))
    assert summary.median == pytest.approx(np.median(levels))
    assert summary.interval.num == 3
    assert [video.num_frames for video in results.videos] == [NUM_FRAMES] * 3
    assert {"seed", "interval", "device", "detector", "versions", "wall_seconds", "frames_per_second"} <= set(
        results.run
    )
    assert results.run["frames_per_second"] > 0


def test_a_second_run_measures_nothing_and_says_the_same(pairs: list[Pair], tmp_path: Path):
    metrics = [Brightness(), Colours(), Refusing()]
    first = run(pairs, metrics, tmp_path)
    assert (first.run["num_measured"], first.run["num_kept"]) == (9, 0)
    again = [Brightness(), Colours(), Refusing()]
    second = run(pairs, again, tmp_path)
    assert (second.run["num_measured"], second.run["num_kept"]) == (0, 9)
    assert again[0].num_calls == again[0].num_loads == again[1].num_calls == 0
    assert second.videos == first.videos
    assert second.sets == first.sets
    assert second.summaries() == first.summaries()


def test_what_is_kept_goes_by_content_not_by_name(pairs: list[Pair], tmp_path: Path):
    run(pairs[:1], [Brightness()], tmp_path / "cache")
    moved = shutil.copy(pairs[0].result, tmp_path / "renamed.mp4")
    metric = Brightness()
    run([replace(pairs[0], name="other", result=Path(moved))], [metric], tmp_path / "cache")
    assert metric.num_calls == 0
    shutil.copy(pairs[2].result, moved)
    results = run([replace(pairs[0], result=Path(moved))], [metric], tmp_path / "cache")
    assert metric.num_calls == 1
    assert results.videos[0].values["level"] == pytest.approx(LEVELS[2], abs=2.5)


def test_a_new_version_of_a_metric_measures_anew(pairs: list[Pair], tmp_path: Path):
    run(pairs[:1], [Brightness(version=1)], tmp_path)
    metric = Brightness(version=2)
    run(pairs[:1], [metric], tmp_path)
    assert metric.num_calls == 1


def test_an_older_result_does_not_stand_for_a_failed_one(pairs: list[Pair], tmp_path: Path):
    record = tmp_path / "record.json"
    record.write_text('{"status": "failed", "error": "no face was found"}')
    assert pairs[0].result.is_file()
    results = run([replace(pairs[0], report=record)], [Brightness()], tmp_path / "cache")
    assert results.videos[0].error == "there is no result: no face was found"


def test_failed_videos_are_counted_with_their_reason_and_measured_by_their_record(pairs: list[Pair], tmp_path: Path):
    (tmp_path / "torn.mp4").write_bytes(b"no film")
    record = tmp_path / "record.json"
    record.write_text('{"status": "failed", "error": "no face was found"}')
    failing = [
        replace(pairs[0], name="gone", result=tmp_path / "gone.mp4", report=record),
        replace(pairs[0], name="torn", result=tmp_path / "torn.mp4"),
        replace(pairs[0], name="deaf", audio=tmp_path / "no.wav"),
    ]
    results = run([*pairs, *failing], [Brightness(), Colours(), Recorded()], tmp_path / "cache")
    errors = {video.name: video.error for video in results.videos if video.error is not None}
    assert set(errors) == {"gone", "torn", "deaf"}
    assert errors["gone"] == "there is no result: no face was found"
    assert "no.wav" in str(errors["deaf"])
    assert "torn.mp4" in str(errors["torn"])
    gone = next(video for video in results.videos if video.name == "gone")
    assert gone.values == {"has_record": 1.0}
    summary = results.summary("reconstruction", "model", "level")
    assert summary is not None
    assert summary.interval.num == 3
    assert results.sets[0].num_videos == 3


def test_one_faulty_metric_does_not_stop_the_others(pairs: list[Pair], tmp_path: Path):
    results = run(pairs[:1], [Broken(), Infinite(), Refusing(), Brightness()], tmp_path)
    video = results.videos[0]
    assert set(video.values) == {"level", "apart"}
    assert video.not_measured["refusing"] == "it does not like it"
    assert "ZeroDivisionError: a fault in the metric" in video.not_measured["broken"]
    assert "inf" in video.not_measured["infinite"]
    retried = run(pairs[:1], [Broken(), Refusing()], tmp_path)
    assert retried.run["num_kept"] == 1  # a refusal is a result, a fault is tried again


def test_missing_weights_are_reported_or_an_error(pairs: list[Pair], tmp_path: Path):
    results = run(pairs[:1], [Weightless(), Brightness()], tmp_path)
    assert results.metrics[0].not_measured == "not measured: file /nowhere/judge.pt missing"
    assert results.videos[0].values["level"] > 0
    with pytest.raises(CheckpointError, match=r"judge\.pt missing"):
        run(pairs[:1], [Weightless()], tmp_path, is_strict=True)


def test_set_values_are_of_whole_rows(pairs: list[Pair], tmp_path: Path):
    other = [replace(pair, row="dark") for pair in pairs[:1]]
    results = run([*pairs, *other], [Colours()], tmp_path)
    with open_clips(tmp_path) as clips:
        generated = np.concatenate([level_of(clips, pair.result) for pair in pairs])
        real = np.concatenate([level_of(clips, pair.source) for pair in pairs])
    rows = {one.row: one for one in results.sets}
    assert rows["model"].values["colour_distance"] == pytest.approx(
        np.abs(generated.mean(0) - real.mean(0)).mean(), abs=1e-4
    )
    assert (rows["model"].num_videos, rows["model"].num_generated) == (3, 3 * NUM_FRAMES)
    assert rows["model"].warning == "too few samples"
    assert rows["dark"].num_videos == 1
    for file in (tmp_path / "figures").rglob("*.npy"):
        file.unlink()
    metric = Colours()
    again = run(pairs, [metric], tmp_path)
    assert metric.num_calls == 3  # features that are gone are gathered anew
    assert again.sets[0] == rows["model"]
