"""The matrix to the square crop against the published alignment's golden values."""

from pathlib import Path

import numpy as np

from latentsync.face.align import Aligner


def test_square_matrix_is_the_published_matrix_followed_by_the_resize(golden_dir: Path) -> None:
    with np.load(golden_dir / "affine_256.npz") as golden:
        points, matrices = golden["points"], golden["matrices"]
    aligner = Aligner(256)
    for anchors, matrix in zip(points, matrices, strict=True):
        place = anchors.mean(axis=0)
        in_crop = matrix[:, :2] @ place + matrix[:, 2]
        resized = (in_crop + 0.5) * 256.0 / np.array([210.0, 280.0]) - 0.5
        found = aligner.matrix(anchors)
        np.testing.assert_allclose(found[:, :2] @ place + found[:, 2], resized, atol=2e-3)
        np.testing.assert_allclose(found[:, :2], matrix[:, :2] * (256.0 / np.array([[210.0], [280.0]])), atol=1e-4)
