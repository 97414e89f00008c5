"""Lengths of segments, and the frames and samples of the files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError
from preprocess.step import Done, Output, Rejected, StepResult
from preprocess.steps.step_4_segments import SegmentsConfig, SegmentsStep, segment_lengths
from tests.unit.preprocess.raw_clips import assert_is_a_clip, file_of, make_raw, noise, numbers, raw_clip, samples_of


def cut(path: Path, config: SegmentsConfig | None = None, first_frame: int = 0) -> StepResult:
    work = path.with_name("work")
    work.mkdir()
    clip = replace(raw_clip(path), facts={"first_frame": first_frame, "num_frames": 1})
    return SegmentsStep(config or SegmentsConfig()).load(torch.device("cpu"))(clip, work)


def test_nothing_is_left_over_between_5_and_10_seconds() -> None:
    for num_frames in range(125, 1400):
        lengths = segment_lengths(num_frames, 125, 250)
        assert sum(lengths) == num_frames
        assert min(lengths) >= 125
        assert max(lengths) <= 250
        assert max(lengths) - min(lengths) <= 1
        assert len(lengths) == -(-num_frames // 250)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (124, []),
        (125, [125]),
        (250, [250]),
        (251, [126, 125]),
        (502, [168, 167, 167]),
    ],
)
def test_the_rule_by_example(num_frames: int, expected: list[int]) -> None:
    assert segment_lengths(num_frames, 125, 250) == expected


def test_a_remainder_that_fits_nowhere_is_dropped() -> None:
    assert segment_lengths(110, 80, 100) == [100]
    assert segment_lengths(215, 80, 100) == [100, 100]
    assert segment_lengths(240, 80, 100) == [80, 80, 80]
    assert segment_lengths(250, 100, 100) == [100, 100]


def test_segments_have_exactly_their_frames_and_samples(tmp_path: Path) -> None:
    whole = make_raw(tmp_path / "clip.mp4", 131, video=["-g", "250"])
    result = cut(whole, SegmentsConfig(min_s=1.0, max_s=2.0), first_frame=1000)
    assert isinstance(result, Done)
    expected = [(0, 44), (44, 88), (88, 131)]
    for number, (output, (first, stop)) in enumerate(zip(result.outputs, expected, strict=True)):
        file = file_of(output)
        assert output.suffix == f"_seg{number:03d}"
        assert output.facts == {"first_frame": 1000 + first, "num_frames": stop - first}
        assert numbers(file) == list(range(first, stop))
        assert_is_a_clip(file, stop - first)
        np.testing.assert_array_equal(samples_of(file), noise(131 * 640)[first * 640 : stop * 640])


def test_a_clip_of_the_right_length_passes_unchanged(tmp_path: Path) -> None:
    result = cut(make_raw(tmp_path / "-it's right.mp4", 130), first_frame=7)
    assert result == Done((Output(facts={"first_frame": 7, "num_frames": 130}),))
    assert not list((tmp_path / "work").iterdir())


def test_a_clip_under_5_seconds_is_rejected(tmp_path: Path) -> None:
    result = cut(make_raw(tmp_path / "clip.mp4", 124))
    assert isinstance(result, Rejected)
    assert result.reason == "too_short"
    assert "4.96 s" in result.detail


@pytest.mark.parametrize("setting", [{"min_s": 6.0, "max_s": 5.0}, {"min_s": 0.0}, {"crf": -1}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="segments"):
        SegmentsConfig(**setting)  # type: ignore[arg-type]
