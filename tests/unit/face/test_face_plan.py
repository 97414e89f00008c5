"""Cuts, the plan of a video, and smoothing over time."""

import time

import cv2
import numpy as np
import pytest

from latentsync.errors import InputError
from latentsync.face.cuts import CutDetector
from latentsync.face.face_plan import FacePlan, jitter, plan_face, raw_plan, smooth_anchors
from tests.unit.face.faces import FRAME_SIZE, ScriptedDetector, detection

BASE = np.array([[100.0, 100.0], [200.0, 100.0], [150.0, 160.0]])


def scene(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(noise, FRAME_SIZE, interpolation=cv2.INTER_CUBIC)


def still(num_frames, seed=1):
    picture = scene(seed)
    return (picture for _ in range(num_frames))


def two_scenes(first, second):
    yield from still(first, 1)
    yield from still(second, 2)


def test_one_face_throughout_is_one_segment():
    done = []
    detector = ScriptedDetector([[detection(200 + i, 200)] for i in range(21)])
    plan = plan_face(still(21), detector, batch_size=8, progress=done.append)
    assert plan.segments() == [(0, 21)]
    assert detector.batches == [8, 8, 5]
    assert done == [8, 16, 21]
    assert plan.anchors.shape == (21, 3, 2)
    assert plan.anchors.dtype == np.float32
    assert plan.segment.dtype == np.int32
    assert np.allclose(plan.anchors[:, 2], np.stack([200 + np.arange(21), np.full(21, 220)], axis=1), atol=1e-3)


def test_short_gaps_are_filled_and_long_ones_split():
    script = [[detection(200 + i, 200)] if i not in (5, 6, 7) and not 20 <= i < 32 else [] for i in range(50)]
    plan = raw_plan(still(50), ScriptedDetector(script))
    assert plan.segments() == [(0, 20), (32, 50)]
    assert np.allclose(plan.anchors[:20, 2, 0], 200 + np.arange(20), atol=1e-3)
    assert np.isnan(plan.anchors[20:32]).all()
    assert (plan.segment[20:32] == -1).all()


def test_a_cut_splits_segments_and_restarts_smoothing():
    script = [[detection(200, 200)]] * 12 + [[detection(230, 210)]] * 14
    plan = plan_face(two_scenes(12, 14), ScriptedDetector(script))
    assert plan.segments() == [(0, 12), (12, 26)]
    assert np.allclose(plan.anchors[:12, 2], [200, 220], atol=1e-3)
    assert np.allclose(plan.anchors[12:, 2], [230, 230], atol=1e-3)


def test_exact_rounds_the_anchors_without_smoothing():
    trembling = [detection(200 + 3 * (i % 2) + 0.3, 200.7) for i in range(20)]
    plan = plan_face(still(20), ScriptedDetector([[face] for face in trembling]), exact=True)
    assert np.array_equal(plan.anchors, np.round([face.anchors for face in trembling]))
    smooth = plan_face(still(20), ScriptedDetector([[face] for face in trembling]))
    assert np.abs(smooth.anchors - plan.anchors).max() > 1


def test_every_scene_follows_its_own_track():
    left, right, large = detection(150, 200), detection(450, 200), detection(300, 200, 200)
    script = [[left, right]] * 10 + [[large]] * 10
    plan = plan_face(two_scenes(10, 10), ScriptedDetector(script), selector="1")
    assert plan.segments() == [(0, 10)]
    plan = plan_face(two_scenes(10, 10), ScriptedDetector(script), selector="right")
    assert plan.segments() == [(0, 10), (10, 20)]
    assert plan.anchors[0, 2, 0] == pytest.approx(450, abs=1e-3)


def test_a_larger_face_for_a_few_frames_is_not_followed():
    """The followed face is a track, not the largest box of each frame."""
    face, stranger = detection(200, 200, 120), detection(450, 200, 150)
    plan = raw_plan(still(40), ScriptedDetector([[face, stranger] if 10 <= i < 18 else [face] for i in range(40)]))
    assert plan.segments() == [(0, 40)]
    assert np.ptp(plan.anchors[:, 2, 0]) == 0


def test_jitter_is_smoothed():
    rng = np.random.default_rng(0)
    script = [[detection(*(np.array([200, 200]) + rng.normal(0, 1.5, 2)))] for _ in range(60)]
    raw = raw_plan(still(60), ScriptedDetector(script))
    assert jitter(raw.smoothed().anchors) < 0.2 * jitter(raw.anchors)


def test_no_face_gives_an_empty_plan():
    plan = plan_face(still(9), ScriptedDetector([[]] * 9))
    assert len(plan) == 9
    assert plan.segments() == []


def test_no_frames_give_no_plan():
    plan = plan_face(iter(()), ScriptedDetector([]))
    assert len(plan) == 0
    assert plan.segments() == []


def test_a_selector_without_a_match_is_an_error():
    with pytest.raises(InputError, match="matches none"):
        plan_face(still(9), ScriptedDetector([[detection(200, 200)]] * 9), selector="4")


def test_an_invalid_selector_is_reported_before_detection():
    detector = ScriptedDetector([[detection(200, 200)]] * 9)
    with pytest.raises(InputError, match="lies outside"):
        plan_face(still(9), detector, selector="1000,10")
    assert detector.batches == []


def test_few_frames_are_read_ahead_of_the_detector():
    taken = []

    def counted():
        for i, frame in enumerate(still(40)):
            taken.append(i)
            yield frame

    class Watching(ScriptedDetector):
        def detect(self, frames):
            time.sleep(0.02)  # the thread that reads reaches its limit
            assert 0 <= len(taken) - sum(self.batches) - len(frames) <= 8
            return super().detect(frames)

    plan_face(counted(), Watching([[detection(200, 200)]] * 40), batch_size=4)
    assert len(taken) == 40


def test_adjacent_segments_stay_separate():
    plan = FacePlan(np.zeros((6, 3, 2), np.float32), np.array([-1, 0, 0, 1, 1, -1], np.int32))
    assert plan.segments() == [(1, 3), (3, 5)]


def textured(seed, shift=0, height=360, width=640):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return np.roll(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), shift, axis=1)


def cuts(frames):
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector.is_cut(frame)]


def test_a_cut_is_the_first_frame_of_the_new_scene():
    frames = [textured(1, i) for i in range(10)] + [textured(2, i) for i in range(7)] + [textured(3) for _ in range(5)]
    assert cuts(frames) == [10, 17]


def test_motion_noise_and_slow_fades_are_not_cuts():
    noise = np.random.default_rng(0)
    moving = [
        np.clip(textured(1, 2 * i) + noise.normal(0, 6, (360, 640, 3)), 0, 255).astype(np.uint8) for i in range(15)
    ]
    fading = [(textured(1) * (1 - i / 40)).astype(np.uint8) for i in range(30)]
    assert cuts(moving) == []
    assert cuts(fading) == []


def test_scenes_of_one_frame_are_found():
    assert cuts([textured(1), textured(2), textured(3), textured(3)]) == [1, 2]


def moving(num_frames, motion):
    return BASE[None] + motion(np.arange(num_frames))[:, None, None]


def test_steady_and_accelerated_motion_is_unchanged_up_to_both_ends():
    for motion in (lambda t: 3.0 * t, lambda t: 0.2 * t**2 - t, lambda t: 0.0 * t):
        anchors = moving(40, motion)
        assert np.allclose(smooth_anchors(anchors), anchors, atol=1e-6)


def test_jitter_is_removed_without_lag():
    truth = moving(200, lambda t: 20 * np.sin(2 * np.pi * t / 50))
    noisy = truth + np.random.default_rng(0).normal(0, 2, truth.shape)
    smooth = smooth_anchors(noisy)
    assert jitter(smooth) < 0.2 * jitter(noisy)
    assert np.sqrt(np.mean((smooth - truth) ** 2)) < 0.65 * 2
    track, reference = smooth[:, 0, 0] - 100, truth[:, 0, 0] - 100
    lags = [np.dot(track[10 + lag : 190 + lag], reference[10:190]) for lag in range(-4, 5)]
    assert int(np.argmax(lags)) == 4


def test_reversed_time_gives_the_reversed_result():
    noisy = moving(60, lambda t: 0.1 * t) + np.random.default_rng(0).normal(0, 2, (60, 3, 2))
    assert np.allclose(smooth_anchors(noisy[::-1])[::-1], smooth_anchors(noisy))


def test_agrees_with_polynomial_regression():
    noisy = moving(50, lambda t: 0.5 * t) + np.random.default_rng(0).normal(0, 2, (50, 3, 2))
    smooth = smooth_anchors(noisy)
    for i in (0, 3, 25, 49):
        near = np.arange(max(0, i - 8), min(50, i + 9))
        weights = np.exp(-0.25 * ((near - i) / 2.5) ** 2)  # polyfit squares them
        fit = np.polyfit(near - i, noisy[near, 1, 0], 2, w=weights)
        assert smooth[i, 1, 0] == pytest.approx(fit[-1], abs=1e-6)


def test_a_higher_frame_rate_smooths_over_the_same_time():
    noise = np.random.default_rng(0).normal(0, 2, (200, 3, 2))
    assert jitter(smooth_anchors(BASE + noise, fps=50)) < 0.5 * jitter(smooth_anchors(BASE + noise, fps=25))


@pytest.mark.parametrize("num_frames", [0, 1, 2, 3, 4, 9, 17, 18])
def test_short_segments_keep_shape_and_dtype(num_frames):
    anchors = moving(num_frames, lambda t: 1.0 * t).astype(np.float32)
    smooth = smooth_anchors(anchors)
    assert smooth.shape == anchors.shape
    assert smooth.dtype == np.float32
    assert np.allclose(smooth, anchors, atol=1e-3)


def test_jitter_is_the_mean_second_difference_over_the_brow_distance():
    anchors = np.repeat(BASE[None], 3, axis=0)
    anchors[1, :, 0] += 5.0
    assert jitter(anchors) == pytest.approx(10 / 100)
    gap = np.concatenate([anchors, np.full((1, 3, 2), np.nan), anchors])
    assert jitter(gap) == pytest.approx(10 / 100)
    assert np.isnan(jitter(anchors[:2]))
