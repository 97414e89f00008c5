"""Means over boxes, against torch's adaptive pooling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from latentsync.face.area_means import AreaMeans, bins

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 60, 90, 3), dtype=np.uint8)
NORMALIZED = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() - 127.5) / 128


@pytest.fixture(scope="module")
def means():
    return AreaMeans(list(IMAGES), torch.device("cpu"))


@pytest.mark.parametrize("size", [(7, 11), (25, 60), (60, 90), (64, 100)])
def test_resized_images_equal_area_interpolation(means, size):
    rows, columns = (np.stack([bins(np.arange(n), n, side)] * 2) for n, side in zip(size, (60, 90), strict=True))
    assert torch.equal(means(np.arange(2), rows, columns), F.interpolate(NORMALIZED, size, mode="area"))


def test_parts_equal_padded_crops(means):
    """A crop that extends beyond the image by 10 pixels at the left and 5 below, and one that lies outside."""
    low, length = np.array([[-10, 25], [95, 70]]), 40
    columns, rows = (low[:, axis, None, None] + bins(np.arange(24), 24, length) for axis in (0, 1))
    inside, outside = means(np.array([1, 0]), rows, columns)
    padded = F.pad(NORMALIZED[1, :, 25:60, :30], (10, 0, 0, 5))
    assert torch.equal(inside, F.adaptive_avg_pool2d(padded, 24))
    assert torch.equal(outside, torch.zeros(3, 24, 24))
