import cv2
import numpy as np
import pytest
import torch

from latentsync.face import mask
from latentsync.face.mask import blend_mask, keep_mask, latent_mask, lower_half


def test_number_of_generated_pixels_at_256():
    assert int((keep_mask(256) == 0).sum()) == 26676


@pytest.mark.parametrize("resolution", [64, 96, 256])
def test_inside_agrees_with_opencv(resolution):
    polygon = (np.array(mask._POLYGON) * resolution / 256).astype(np.float32)
    expected = [
        [cv2.pointPolygonTest(polygon, (float(x), float(y)), False) >= 0 for x in range(resolution)]
        for y in range(resolution)
    ]
    assert np.array_equal(keep_mask(resolution).numpy() == 0, np.array(expected))


def test_mask_scales_with_the_resolution():
    shares = [float((keep_mask(resolution) == 0).float().mean()) for resolution in (128, 256, 512)]
    assert max(shares) - min(shares) < 0.003


def test_latent_mask_is_the_nearest_pixel():
    assert torch.equal(latent_mask(256, 32), keep_mask(256)[::8, ::8])


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_blend_mask_lies_inside_the_generated_region_and_rises_smoothly(resolution):
    blend = blend_mask(resolution)
    assert float(blend[keep_mask(resolution) == 1].max()) == 0
    assert float(blend.max()) == 1
    steps = torch.maximum(blend.diff(dim=0).abs().max(), blend.diff(dim=1).abs().max())
    width = mask.FEATHER_SHARE * resolution
    assert float(steps) < 1.6 / width
    # the mouth itself is wholly generated
    assert (
        float(
            blend[int(0.6 * resolution) : int(0.85 * resolution), int(0.3 * resolution) : int(0.7 * resolution)].min()
        )
        == 1
    )


def test_lower_half() -> None:
    frames = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    assert (lower_half(frames, channels_last=True) == frames[:, 3:]).all()
    channels_first = frames.transpose(0, 3, 1, 2)
    assert (lower_half(torch.from_numpy(channels_first)).numpy() == channels_first[:, :, 3:]).all()
