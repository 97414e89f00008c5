"""SSIM and PSNR against scikit-image, and the judges that compare crops picture by picture."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from eval.metrics.metric import NotMeasured
from eval.metrics.psnr import METRIC as PSNR
from eval.metrics.psnr import psnr_db
from eval.metrics.ssim import METRIC as SSIM
from eval.metrics.ssim import ssim
from eval.perceptual_judge import perceptual_judge
from tests.unit.eval.made_clips import MadeClips, clip_of, sample_of, textured

CPU = torch.device("cpu")


def noisy(pictures: np.ndarray, level: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, level, pictures.shape)
    return (pictures + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("level", [2, 40])
def test_ssim_and_psnr_agree_with_scikit_image(level):
    picture = textured(1, 48)[0]
    other = noisy(picture, level)
    theirs = structural_similarity(
        picture, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
    )
    assert ssim(picture, other) == pytest.approx(theirs, abs=1e-9)
    assert psnr_db(picture, other) == pytest.approx(peak_signal_noise_ratio(picture, other, data_range=255), abs=1e-9)


def test_equal_pictures():
    picture = textured(1, 32)[0]
    assert ssim(picture, picture) == pytest.approx(1)
    assert psnr_db(picture, picture) == 100


def test_judges_give_means_over_frames_with_the_face_in_both():
    crops = textured(5)
    worse = noisy(crops, 12)
    worse[3] = 0  # not valid: must not count
    result = clip_of(worse, np.array([True, True, True, False, True]))
    reference = clip_of(crops[:4], np.array([False, True, True, True]))
    clips = MadeClips({"result": result, "reference": reference})
    values = SSIM.load(CPU)(sample_of(), clips) | PSNR.load(CPU)(sample_of(), clips)
    assert values["ssim"] == pytest.approx(np.mean([ssim(worse[i], crops[i]) for i in (1, 2)]))
    assert values["psnr"] == pytest.approx(np.mean([psnr_db(worse[i], crops[i]) for i in (1, 2)]))


def test_the_mouth_is_looked_at_by_itself():
    crops = textured(2)
    changed = crops.copy()
    changed[:, 40:50, 26:38] = 0  # inside the mouth region of 64 px: rows 36 to 56, columns 20 to 44
    clips = MadeClips({"result": clip_of(changed), "reference": clip_of(crops)})
    for metric in (SSIM, PSNR):
        values = metric.load(CPU)(sample_of(), clips)
        assert values[f"{metric.name}_mouth"] < values[metric.name]
    changed[:] = crops
    changed[:, :20] = 0
    for metric, perfect in ((SSIM, 1), (PSNR, 100)):
        values = metric.load(CPU)(sample_of(), clips)
        assert values[f"{metric.name}_mouth"] == pytest.approx(perfect)
        assert values[metric.name] < perfect


def test_without_a_reference_or_a_common_face_there_is_no_figure():
    crops = textured(2)
    clips = MadeClips({"result": clip_of(crops), "reference": clip_of(crops, np.zeros(2, bool))})
    with pytest.raises(NotMeasured, match="no reference"):
        PSNR.load(CPU)(sample_of(None), clips)
    with pytest.raises(NotMeasured, match="no frame"):
        PSNR.load(CPU)(sample_of(), clips)


def test_a_perceptual_judge_looks_at_every_fifth_frame():
    crops = textured(12)
    changed = crops.copy()
    changed[[1, 2, 3, 4, 6]] = 0
    clips = MadeClips({"result": clip_of(changed), "reference": clip_of(crops)})
    judge = perceptual_judge(lambda x, y: (x - y).abs().mean((1, 2, 3)), CPU, "face", "mouth")
    assert judge(sample_of(), clips) == {"face": 0, "mouth": 0}
    changed[5, :10] = 255 - changed[5, :10]
    values = judge(sample_of(), clips)
    step = np.abs(changed[5].astype(float) - crops[5]).mean() / 127.5
    assert values["face"] == pytest.approx(step / 3, rel=1e-5)
    assert values["mouth"] == 0
