"""Flicker and motion in silence."""

import numpy as np
import pytest
import torch

from eval.face_clips import SAMPLES_PER_FRAME
from eval.metrics.flicker import METRIC as FLICKER
from eval.metrics.flicker import mouth_motion
from eval.metrics.silence import METRIC as SILENCE
from eval.metrics.silence import settled_silence, silent_frames
from latentsync.errors import NotMeasured
from latentsync.judges.crop_measures import flicker as flicker_of_crops
from tests.unit.eval.made_clips import SIZE, MadeClips, clip_of, pair_of, textured

CPU = torch.device("cpu")


def levels(values) -> np.ndarray:
    """Flat crops of these grey levels."""
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), SIZE, SIZE, 3)).copy()


def test_motion_is_measured_inside_spans_with_the_face():
    valid = np.array([True] * 4 + [False] + [True] * 3)
    clip = clip_of(levels([10, 12, 15, 19, 200, 50, 51, 57]), valid)
    np.testing.assert_array_equal(mouth_motion(clip, 1), [np.nan, 2, 3, 4, np.nan, np.nan, 1, 6])
    np.testing.assert_array_equal(mouth_motion(clip, 2), [np.nan, np.nan, 1, 1, np.nan, np.nan, np.nan, 5])


def test_long_clips_are_measured_in_parts_without_a_seam():
    clip = clip_of(textured(530, 16))
    assert np.nanmean(mouth_motion(clip, 2)) == pytest.approx(flicker_of_crops(clip.crops), rel=1e-5)
    assert np.isnan(mouth_motion(clip, 2)).sum() == 2


def test_flicker_is_compared_with_the_reference_else_the_source():
    clips = MadeClips({
        "result": clip_of(levels([0, 8, 0, 8])),
        "reference": clip_of(levels([0, 2, 0, 2])),
        "source": clip_of(levels([0, 4, 0, 4])),
    })  # fmt: skip
    assert FLICKER.load(CPU)(pair_of(), clips) == {"flicker": 16, "flicker_ratio": 4}
    assert FLICKER.load(CPU)(pair_of(None), clips) == {"flicker": 16, "flicker_ratio": 2}
    with pytest.raises(NotMeasured, match="three"):
        FLICKER.load(CPU)(pair_of(), MadeClips({"result": clip_of(levels([0, 1]))}))


def speech(spoken: list[bool], level: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, level, len(spoken) * SAMPLES_PER_FRAME)
    return (sound * np.repeat(np.where(spoken, 1.0, 0.01), SAMPLES_PER_FRAME)).astype(np.float32)


def test_silence_is_relative_to_loud_speech_and_its_ends_are_left_out():
    spoken = [True] * 10 + [False] * 12 + [True] * 8
    for level in (0.3, 0.03):
        np.testing.assert_array_equal(~silent_frames(speech(spoken, level), 30), spoken)
    assert silent_frames(np.zeros(100), 3).all()
    settled = settled_silence(~np.array(spoken))
    assert np.flatnonzero(settled).tolist() == list(range(13, 19))
    at_the_end = settled_silence(np.array([False] * 4 + [True] * 6))
    assert np.flatnonzero(at_the_end).tolist() == [7, 8, 9]


def test_a_mouth_that_moves_in_silence_is_measured():
    spoken = [True] * 12 + [False] * 20 + [True] * 8
    sound = speech(spoken)
    moving = (np.arange(40) % 2) * 10
    closed = np.where(spoken, moving, 0)
    closing_late = closed.copy()
    closing_late[12:15] = [10, 0, 5]  # the three frames that are left out
    values = {}
    for name, mouth in {"leaks": moving, "is still": closed, "closes late": closing_late}.items():
        clips = MadeClips({"result": clip_of(levels(mouth))}, samples={"audio": sound})
        values[name] = SILENCE.load(CPU)(pair_of(), clips)
    assert values["leaks"] == {"silence_motion": 10, "silence_ratio": 1}
    assert values["is still"] == values["closes late"] == {"silence_motion": 0, "silence_ratio": 0}


def test_speech_without_a_pause_is_not_measured():
    clips = MadeClips({"result": clip_of(levels([0] * 20))}, samples={"audio": speech([True] * 20)})
    with pytest.raises(NotMeasured, match="0 frames of settled silence"):
        SILENCE.load(CPU)(pair_of(), clips)
