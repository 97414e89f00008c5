"""Metrics of generated mouths beside the footage."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from latentsync.adaptation.mouth_metrics import MouthMetrics, mean_metrics, measure_mouth, mouth_ssim
from latentsync.judges.crop_measures import correlation, leak, sharpness

RNG = np.random.default_rng(0)
CROPS: NDArray[np.uint8] = np.repeat(np.repeat(RNG.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8), 4, 1), 4, 2)
MOUTHS = RNG.random((12, 2)).astype(np.float32)


def test_footage_beside_itself():
    metrics = measure_mouth(CROPS, CROPS, (MOUTHS, MOUTHS), MOUTHS, says_the_same=True)
    values = metrics.values()
    for name in ("opening", "width", "sharpness", "flicker", "edge", "ssim"):
        assert values[name] == pytest.approx(1, abs=1e-6)
    assert values["psnr_db"] > 100
    assert "leak" not in values


def test_likeness_is_only_known_for_the_same_speech():
    metrics = measure_mouth(CROPS, CROPS, (MOUTHS, MOUTHS), MOUTHS[::-1], says_the_same=False)
    assert "psnr_db" not in metrics.values()
    assert metrics.opening < 0.9
    assert metrics.leak == pytest.approx(1)


def test_leak_leaves_out_what_both_sentences_share():
    footage, own = RNG.standard_normal((2, 400))
    speech = 0.6 * footage + 0.8 * own  # resembles the footage
    assert correlation(speech, footage) > 0.5
    assert leak(speech, speech, footage) == pytest.approx(0, abs=1e-9)
    assert leak(footage, speech, footage) == pytest.approx(1, abs=1e-9)


def test_blur_lowers_sharpness_and_similarity():
    blurred = np.asarray(gaussian_filter(CROPS, (0, 2, 2, 0)), dtype=np.uint8)
    assert sharpness(blurred) < 0.7 * sharpness(CROPS)
    assert mouth_ssim(blurred, CROPS) < 0.9


def test_means_skip_unknown_metrics():
    one = MouthMetrics(1.0, 1, 1, 1, 1, psnr_db=20.0, ssim=0.5)
    other = MouthMetrics(0.5, 1, 1, 1, 1, leak=0.0)
    assert mean_metrics([one, other]) == {
        **{"opening": 0.75, "width": 1.0, "leak": 0.0, "sharpness": 1.0, "flicker": 1.0, "edge": 1.0},
        **{"psnr_db": 20.0, "ssim": 0.5},
    }
