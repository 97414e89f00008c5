"""Shot boundaries, and the frames and samples of the files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError
from preprocess.step import Done, Output, Rejected, StepResult
from preprocess.steps.step_3_shots import ShotsConfig, ShotsStep, find_shot_starts
from tests.unit.preprocess.raw_clips import (
    assert_is_a_clip,
    file_of,
    make_raw,
    noise,
    numbered_frame,
    numbers,
    raw_clip,
    read_all,
    samples_of,
)


def cut(path: Path, config: ShotsConfig | None = None) -> StepResult:
    work = path.with_name("work")
    work.mkdir()
    return ShotsStep(config or ShotsConfig()).load(torch.device("cpu"))(raw_clip(path), work)


@pytest.mark.parametrize("cuts", [[], [30], [31, 62, 80], [20, 23], [1], [59]])
def test_every_cut_is_found_at_its_frame(cuts: Sequence[int]) -> None:
    num_frames = 60 if not cuts or cuts[-1] < 60 else 90
    frames = (numbered_frame(k, sum(k >= cut for cut in cuts)) for k in range(num_frames))
    assert find_shot_starts(frames) == [0, *cuts]


def test_camera_motion_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 256, (8, 64, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    assert find_shot_starts(np.ascontiguousarray(wide[:, 6 * k : 6 * k + 128]) for k in range(60)) == [0]


def grey_frames_with_a_change_of(ratio: float) -> list[np.ndarray]:
    """Return 40 grey frames whose level changes by 20 per frame, and by `ratio` times as much at frame 20."""
    levels = 60 + 20 * (np.arange(40) % 2) + round(20 * (ratio + 1)) * (np.arange(40) >= 20)
    return [np.full((64, 64, 3), level, dtype=np.uint8) for level in levels]


@pytest.mark.parametrize(("ratio", "starts"), [(1.9, [0]), (2.5, [0, 20]), (3.5, [0, 20])])
def test_a_change_of_twice_the_neighbours_is_a_cut_as_published(ratio: float, starts: list[int]) -> None:
    # the score is a third of the change of level, and at least 15 (the other two channels, hue and saturation, stay)
    frames = grey_frames_with_a_change_of(ratio)
    assert find_shot_starts(frames, ShotsConfig().adaptive_threshold, min_content_value=10) == starts
    assert find_shot_starts(frames, min_content_value=10) == starts


def test_every_shot_has_exactly_its_frames_and_samples(tmp_path: Path) -> None:
    cuts = [31, 40, 75]
    whole = make_raw(tmp_path / "clip.mp4", 110, shots=cuts, video=["-g", "250"])
    frames = read_all(whole)
    result = cut(whole, ShotsConfig(min_frames=9))
    assert isinstance(result, Done)
    assert [output.suffix for output in result.outputs] == [f"_shot{k:03d}" for k in range(4)]
    for output, first, stop in zip(result.outputs, [0, *cuts], [*cuts, 110], strict=True):
        file = file_of(output)
        assert output.facts == {"first_frame": first, "num_frames": stop - first}
        assert numbers(file) == list(range(first, stop))
        assert_is_a_clip(file, stop - first)
        np.testing.assert_array_equal(samples_of(file), noise(110 * 640)[first * 640 : stop * 640])
        for place in (0, -1):
            border = frames[first if place == 0 else stop - 1]
            assert np.abs(read_all(file)[place].astype(int) - border).mean() < 3


def test_short_shots_are_dropped_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    result = cut(make_raw(tmp_path / "clip.mp4", 70, shots=[30, 36]))
    assert isinstance(result, Done)
    assert [(output.suffix, output.facts["first_frame"]) for output in result.outputs] == [
        ("_shot000", 0),
        ("_shot002", 36),
    ]


def test_one_shot_passes_unchanged(tmp_path: Path) -> None:
    result = cut(make_raw(tmp_path / "-it's one.mp4", 40))
    assert result == Done((Output(facts={"first_frame": 0, "num_frames": 40}),))
    assert not list((tmp_path / "work").iterdir())


def test_nothing_but_short_shots_is_rejected(tmp_path: Path) -> None:
    result = cut(make_raw(tmp_path / "clip.mp4", 40, shots=[16, 28]))
    assert isinstance(result, Rejected)
    assert result.reason == "only_short_shots"
    assert "3 shots" in result.detail
    assert "16 frames" in result.detail


@pytest.mark.parametrize("setting", [{"min_frames": 0}, {"adaptive_threshold": 0.0}, {"crf": 60}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="shots"):
        ShotsConfig(**setting)  # type: ignore[arg-type]
