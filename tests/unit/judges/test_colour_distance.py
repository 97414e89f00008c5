"""Lab against published values, PSNR against its definition."""

import numpy as np
import pytest

from latentsync.judges.colour_distance import chroma_error, lab, psnr_db


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
