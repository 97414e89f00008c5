import cv2
import numpy as np
import pytest
import torch

from latentsync.face.colour import match_colour
from latentsync.face.mask import keep_mask


def crop(resolution=128):
    noise = np.random.default_rng(0).random((resolution, resolution, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return torch.from_numpy((smooth - 0.5) * 3).permute(2, 0, 1)[None].clamp(-0.7, 0.7)


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_a_constant_cast_goes(resolution):
    source = crop(resolution)
    cast = torch.tensor([0.15, -0.05, -0.2])[None, :, None, None]
    assert torch.allclose(match_colour(source + cast, source), source, atol=1e-3)


def test_a_sloping_cast_goes_at_the_border_of_the_mask():
    source = crop(256)
    slope = torch.linspace(-0.2, 0.2, 256)[None, None, None]
    left = (match_colour(source + slope, source) - source).abs().mean(dim=1)[0]
    border = cv2.dilate(keep_mask(256).numpy(), np.ones((5, 5))) - cv2.erode(keep_mask(256).numpy(), np.ones((5, 5)))
    assert float(left[border > 0].mean()) < 0.25 * float(slope.abs().mean())


def test_an_equal_ring_leaves_the_mouth_as_generated():
    source = crop(128)
    generated = source.clone()
    generated[:, :, keep_mask(128) == 0] = 0.3
    assert torch.equal(match_colour(generated, source), generated)


def test_dtype_is_kept_and_range_respected():
    source = crop(128)
    matched = match_colour((source + 0.9).clamp(-1, 1).to(torch.bfloat16), source)
    assert matched.dtype == torch.bfloat16
    assert float(matched.abs().max()) <= 1
