import numpy as np
import pytest

from latentsync.face.smoothing import jitter, smooth_anchors

BASE = np.array([[100.0, 100.0], [200.0, 100.0], [150.0, 160.0]])


def moving(num_frames, motion):
    return BASE[None] + motion(np.arange(num_frames))[:, None, None]


def test_steady_and_accelerated_motion_pass_unchanged_to_both_ends():
    for motion in (lambda t: 3.0 * t, lambda t: 0.2 * t**2 - t, lambda t: 0.0 * t):
        anchors = moving(40, motion)
        assert np.allclose(smooth_anchors(anchors), anchors, atol=1e-6)


def test_tremble_goes_and_the_motion_stays_without_lag():
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
def test_short_stretches_keep_shape_and_type(num_frames):
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
