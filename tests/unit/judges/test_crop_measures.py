"""Lab against published values, the other measures against their definitions."""

import numpy as np
import pytest

from latentsync.face.mask import blend_mask, keep_mask
from latentsync.judges.crop_measures import (
    chroma_error,
    correlation,
    edge_step,
    feather_reach,
    flicker,
    lab,
    mouth_psnr_db,
    mouth_region,
    psnr_db,
    to_crops,
    to_images,
)

SIZE = 128
OUTSIDE, INSIDE = np.array([120.0, 100, 90]), np.array([150.0, 100, 90])


def two_colours(weight: np.ndarray) -> np.ndarray:
    """Crops (2, R, R, 3): one colour where the weight is 0, the other where it is 1."""
    picture = OUTSIDE + weight[..., None] * (INSIDE - OUTSIDE)
    return np.repeat(picture.round().astype(np.uint8)[None], 2, axis=0)


def test_a_hard_edge_is_its_colour_distance_at_any_reach():
    crops = two_colours(1 - keep_mask(SIZE).numpy())
    distance = np.linalg.norm(lab(OUTSIDE.astype(np.uint8)) - lab(INSIDE.astype(np.uint8)))
    assert edge_step(crops) == pytest.approx(distance)
    assert edge_step(crops, 6) == pytest.approx(distance)


def test_a_blend_hides_a_step_from_neighbours_only():
    crops = two_colours(blend_mask(SIZE).numpy())
    distance = np.linalg.norm(lab(OUTSIDE.astype(np.uint8)) - lab(INSIDE.astype(np.uint8)))
    assert edge_step(crops) < 0.3 * distance
    assert 0.8 * distance < edge_step(crops, feather_reach(SIZE)) < 1.02 * distance


def test_edge_step_looks_nowhere_else():
    rng = np.random.default_rng(0)
    crops = two_colours(np.zeros((SIZE, SIZE)))
    crops[:, 70:100, 50:80] = rng.integers(0, 256, (2, 30, 30, 3))
    crops[:, :30] = rng.integers(0, 256, (2, 30, SIZE, 3))
    assert edge_step(crops, feather_reach(SIZE)) == 0


def test_flicker_is_blind_to_steady_change_and_sees_jumps():
    steady = np.broadcast_to(10 * np.arange(12, dtype=np.uint8)[:, None, None, None], (12, SIZE, SIZE, 3))
    assert flicker(steady) == 0
    jumping = np.broadcast_to(100 + 3 * (np.arange(12, dtype=np.uint8) % 2)[:, None, None, None], (12, SIZE, SIZE, 3))
    assert flicker(jumping) == pytest.approx(12 / 2)


def test_mouth_region_is_where_the_mouth_is():
    crops = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    crops[:, 72:112, 40:88] = 1
    assert mouth_region(crops).shape == (1, 40, 48, 3)
    assert mouth_region(crops).all()
    other = crops.copy()
    other[:, :72] = 255
    assert mouth_psnr_db(crops, other) > 100
    other[:, 80, 60] = 0
    assert mouth_psnr_db(crops, other) == pytest.approx(10 * np.log10(255**2 * 40 * 48))


def test_correlation():
    values = np.array([0.0, 1, 3, 2])
    assert correlation(values, 2 * values + 1) == pytest.approx(1)
    assert correlation(values, np.ones(4)) == 0


def test_crops_go_to_images_and_back():
    crops = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    images = to_images(crops)
    assert images.shape == (2, 3, 8, 8)
    np.testing.assert_array_equal(to_crops(images), crops)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_the_corners(rgb, expected):
    np.testing.assert_allclose(lab(np.array(rgb, dtype=np.uint8)), expected, atol=0.02)


def test_chroma_error_does_not_see_lightness():
    grey, white = np.full((4, 4, 3), 90, np.uint8), np.full((4, 4, 3), 250, np.uint8)
    assert chroma_error(grey, white) < 0.02
    assert psnr_db(grey, white) == pytest.approx(20 * np.log10(255 / 160))
