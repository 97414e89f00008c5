"""SSIM and PSNR against scikit-image, and the metrics that compare crops image by image."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from eval.metrics.lpips import perceptual_metric
from eval.metrics.psnr import METRIC as PSNR
from eval.metrics.psnr import frame_psnr_db
from eval.metrics.ssim import METRIC as SSIM
from eval.metrics.ssim import ssim
from latentsync.errors import NotMeasured
from tests.unit.eval.made_clips import MadeClips, clip_of, pair_of, textured

CPU = torch.device("cpu")


def noisy(images: np.ndarray, level: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, level, images.shape)
    return (images + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("level", [2, 40])
def test_ssim_and_psnr_agree_with_scikit_image(level):
    image = textured(1, 48)[0]
    other = noisy(image, level)
    theirs = structural_similarity(
        image, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
    )
    assert ssim(image, other) == pytest.approx(theirs, abs=1e-9)
    assert frame_psnr_db(image, other) == pytest.approx(peak_signal_noise_ratio(image, other, data_range=255), abs=1e-9)


def test_equal_images():
    image = textured(1, 32)[0]
    assert ssim(image, image) == pytest.approx(1)
    assert frame_psnr_db(image, image) == 100


def test_metrics_give_means_over_frames_with_the_face_in_both():
    crops = textured(5)
    worse = noisy(crops, 12)
    worse[3] = 0  # not valid: must not count
    result = clip_of(worse, np.array([True, True, True, False, True]))
    reference = clip_of(crops[:4], np.array([False, True, True, True]))
    clips = MadeClips({"result": result, "reference": reference})
    values = SSIM.load(CPU)(pair_of(), clips) | PSNR.load(CPU)(pair_of(), clips)
    assert values["ssim"] == pytest.approx(np.mean([ssim(worse[i], crops[i]) for i in (1, 2)]))
    assert values["psnr"] == pytest.approx(np.mean([frame_psnr_db(worse[i], crops[i]) for i in (1, 2)]))


def test_the_mouth_region_has_its_own_value():
    crops = textured(2)
    changed = crops.copy()
    changed[:, 40:50, 26:38] = 0  # inside the mouth region of 64 px: rows 36 to 56, columns 20 to 44
    clips = MadeClips({"result": clip_of(changed), "reference": clip_of(crops)})
    for metric in (SSIM, PSNR):
        values = metric.load(CPU)(pair_of(), clips)
        assert values[f"{metric.name}_mouth"] < values[metric.name]
    changed[:] = crops
    changed[:, :20] = 0
    for metric, perfect in ((SSIM, 1), (PSNR, 100)):
        values = metric.load(CPU)(pair_of(), clips)
        assert values[f"{metric.name}_mouth"] == pytest.approx(perfect)
        assert values[metric.name] < perfect


def test_without_a_reference_or_a_common_face_there_is_no_value():
    crops = textured(2)
    clips = MadeClips({"result": clip_of(crops), "reference": clip_of(crops, np.zeros(2, bool))})
    with pytest.raises(NotMeasured, match="no reference"):
        PSNR.load(CPU)(pair_of(None), clips)
    with pytest.raises(NotMeasured, match="no frame"):
        PSNR.load(CPU)(pair_of(), clips)


def test_a_perceptual_metric_measures_every_fifth_frame():
    crops = textured(12)
    changed = crops.copy()
    changed[[1, 2, 3, 4, 6]] = 0
    clips = MadeClips({"result": clip_of(changed), "reference": clip_of(crops)})
    measure = perceptual_metric("face", lambda x, y: (x - y).abs().mean((1, 2, 3)), CPU)
    assert measure(pair_of(), clips) == {"face": 0, "face_mouth": 0}
    changed[5, :10] = 255 - changed[5, :10]
    values = measure(pair_of(), clips)
    step = np.abs(changed[5].astype(float) - crops[5]).mean() / 127.5
    assert values["face"] == pytest.approx(step / 3, rel=1e-5)
    assert values["face_mouth"] == 0
