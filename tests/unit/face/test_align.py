import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from latentsync.face.align import Aligner, alignment_matrices, compose, crop_faces, invert, tall_size, tall_to_square


@pytest.fixture
def golden(golden_dir):
    with np.load(golden_dir / "affine_256.npz") as file:
        return file["points"], file["matrices"]


def noise_frame(height=600, width=800):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def reference_crop(frame, tall_matrix, resolution):
    """Crop as published: the whole frame bilinearly to the tall crop, then Lanczos."""
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (127, 127, 127)}
    tall = cv2.warpAffine(frame, tall_matrix, tall_size(resolution), flags=cv2.INTER_LINEAR, **border)
    return np.asarray(Image.fromarray(tall).resize((resolution, resolution), Image.Resampling.LANCZOS))


def to_bytes(crop):
    return ((crop + 1) * 127.5).permute(1, 2, 0).numpy()


def test_tall_matrices_match_the_golden_values(golden):
    aligner = Aligner(256)
    for points, matrix in zip(*golden, strict=True):
        assert np.abs(aligner.tall_matrix(points) - matrix).max() < 1e-3


def test_reset_restarts_the_smoothing(golden):
    points, _ = golden
    aligner = Aligner(256)
    aligner.matrix(points[0])
    carried = aligner.matrix(points[1])
    aligner.reset()
    fresh = aligner.matrix(points[1])
    assert np.abs(carried - fresh).max() > 1e-3
    assert np.array_equal(fresh, Aligner(256).matrix(points[1]))


def test_frames_without_a_face_restart_the_smoothing(golden):
    points, _ = golden
    anchors = np.stack([points[0], np.full((3, 2), np.nan), points[1], points[2]])
    matrices = alignment_matrices(anchors, 256)
    assert matrices.shape == (4, 2, 3)
    assert matrices.dtype == np.float32
    assert np.isnan(matrices[1]).all()
    assert np.array_equal(matrices[2:], alignment_matrices(points[1:], 256))


@pytest.mark.parametrize("resolution", [64, 128, 256, 512])
def test_squeeze_maps_the_corners_of_the_tall_crop_to_those_of_the_square(resolution):
    width, height = tall_size(resolution)
    matrix = tall_to_square(resolution)
    assert np.allclose(matrix @ [-0.5, -0.5, 1], [-0.5, -0.5])
    assert np.allclose(matrix @ [width - 0.5, height - 0.5, 1], [resolution - 0.5, resolution - 0.5])


def test_tall_crop_is_the_published_size():
    assert tall_size(256) == (210, 280)
    assert tall_size(512) == (420, 560)


def test_invert_and_compose_undo_each_other(golden):
    matrix = golden[1][0].astype(np.float64)
    assert np.allclose(compose(invert(matrix), matrix), np.eye(2, 3), atol=1e-9)


@pytest.mark.parametrize("shift", [0, 150, -320], ids=["inside", "over the right", "over the top left"])
def test_crops_match_the_published_ones(golden, shift):
    points = golden[0] + shift
    frame, aligner = noise_frame(), Aligner(256)
    crops = crop_faces([frame] * 3, alignment_matrices(points, 256), 256)
    assert crops.shape == (3, 3, 256, 256)
    assert crops.dtype == torch.float32
    for crop, place in zip(crops, points, strict=True):
        difference = np.abs(to_bytes(crop) - reference_crop(frame, aligner.tall_matrix(place), 256))
        assert difference.max() < 3
        assert difference.mean() < 0.6


def test_outside_the_frame_is_grey(golden):
    matrices = alignment_matrices(golden[0] + 5000, 256)
    assert torch.allclose(crop_faces([noise_frame()] * 3, matrices, 256), torch.tensor(127 / 127.5 - 1))


def test_a_large_face_is_shrunk_without_aliasing(golden):
    columns = np.arange(3000) // 3 % 2 * 255  # stripes much finer than a crop pixel
    frame = np.broadcast_to(columns[None, :, None], (3000, 3000, 3)).astype(np.uint8)
    matrix = alignment_matrices(golden[0][:1] * 5, 128)
    inner = to_bytes(crop_faces([frame], matrix, 128)[0])[32:96, 32:96]
    assert inner.std() < 8
    assert abs(inner.mean() - 127.5) < 4


def test_shrinking_does_not_displace_a_large_smooth_frame(golden):
    y, x = np.mgrid[:1500, :1500].astype(np.float32)
    frame = np.stack([x / 6, y / 6, (x + y) / 12], axis=-1).astype(np.uint8)
    points, aligner = golden[0][0] * 2.5, Aligner(256)
    crop = to_bytes(crop_faces([frame], alignment_matrices(points[None], 256), 256)[0])
    reference = reference_crop(frame, aligner.tall_matrix(points), 256).astype(float)
    assert np.abs(crop - reference)[8:-8, 8:-8].mean() < 0.6


def test_read_only_frames_and_tensors_are_accepted(golden, recwarn):
    frame, matrices = noise_frame(), alignment_matrices(golden[0][:1], 128)
    crop = crop_faces([frame], matrices, 128)
    locked = frame.copy()
    locked.flags.writeable = False
    assert torch.equal(crop_faces([locked], matrices, 128), crop)
    assert torch.equal(crop_faces(torch.from_numpy(frame)[None], matrices, 128), crop)
    assert not recwarn.list


def test_no_frames_give_no_crops():
    assert crop_faces([], np.empty((0, 2, 3)), 64).shape == (0, 3, 64, 64)


def test_square_matrix_is_the_published_matrix_followed_by_the_resize(golden):
    aligner = Aligner(256)
    for anchors, matrix in zip(*golden, strict=True):
        place = anchors.mean(axis=0)
        in_crop = matrix[:, :2] @ place + matrix[:, 2]
        resized = (in_crop + 0.5) * 256.0 / np.array([210.0, 280.0]) - 0.5
        found = aligner.matrix(anchors)
        np.testing.assert_allclose(found[:, :2] @ place + found[:, 2], resized, atol=2e-3)
        np.testing.assert_allclose(found[:, :2], matrix[:, :2] * (256.0 / np.array([[210.0], [280.0]])), atol=1e-4)
