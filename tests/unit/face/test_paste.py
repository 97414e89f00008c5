import cv2
import numpy as np
import pytest
import torch

from latentsync.face.align import Aligner, alignment_matrices, crop_faces, invert
from latentsync.face.mask import keep_mask
from latentsync.face.paste import FacePaster, match_colour, soft_edge

POINTS = np.array([[[300.0, 300.0], [420.0, 295.0], [365.0, 370.0]], [[310.0, 290.0], [425.0, 300.0], [362.0, 365.0]]])


def noise_frame(height=720, width=900, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def published_soft_mask(matrix, width, height):
    """Return the soft edge of the crop area in the frame, by erosion and blur, and its steepest slope per pixel."""
    area = cv2.warpAffine(np.ones((280, 210), np.float32), invert(matrix), (width, height))
    area = cv2.erode(area, np.ones((2, 2)))
    edge = int(np.sqrt(area.sum())) // 20
    eroded, size = cv2.erode(area, np.ones((2 * edge, 2 * edge))), 2 * edge + 1
    spread = 0.3 * ((size - 1) / 2 - 1) + 0.8
    return cv2.GaussianBlur(eroded, (size, size), spread), 1 / (np.sqrt(2 * np.pi) * spread)


def constant_crop(resolution, colour):
    return torch.tensor(colour)[:, None, None].expand(3, resolution, resolution).clone()


def test_pasting_an_unchanged_crop_changes_almost_nothing():
    frame, matrices = noise_frame(), alignment_matrices(POINTS, 256)
    crops = crop_faces([frame, frame], matrices, 256)
    for result in FacePaster(256).paste_batch([frame, frame], crops, matrices):
        assert np.abs(result.astype(int) - frame).max() <= 2


def test_pixels_outside_the_generated_region_equal_the_source():
    frame, matrix, paster = noise_frame(), alignment_matrices(POINTS, 256)[0], FacePaster(256)
    before = frame.copy()
    result = paster.paste(frame, constant_crop(256, [1.0, -1.0, 1.0]), matrix)
    assert np.array_equal(frame, before)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    column, row = np.einsum("ij,jhw->ihw", matrix.astype(float), np.stack([x, y, np.ones_like(x)]))
    grown = cv2.dilate((paster.weight.numpy() > 0).astype(np.uint8), np.ones((3, 3)))
    inside = cv2.remap(grown, column.astype(np.float32), row.astype(np.float32), cv2.INTER_NEAREST) > 0
    assert np.array_equal(result[~inside], frame[~inside])
    assert (result != frame).any(axis=-1).sum() > 20_000


def test_the_border_is_soft():
    frame = np.full((720, 900, 3), 100, dtype=np.uint8)
    result = FacePaster(256).paste(frame, constant_crop(256, [1.0, 1.0, 1.0]), alignment_matrices(POINTS, 256)[0])
    assert result.max() == 255
    steps = max(np.abs(np.diff(result.astype(int), axis=axis)).max() for axis in (0, 1))
    assert steps < 0.2 * 155


@pytest.mark.parametrize("size", [0.6, 1.0, 2.5])
def test_soft_edge_matches_the_published_one(size):
    points = POINTS[0] * size
    width, height = int(900 * size), int(720 * size)
    expected, climb = published_soft_mask(Aligner(256).tall_matrix(points), width, height)
    matrix = Aligner(256).matrix(points)
    warped = cv2.warpAffine(soft_edge(256).numpy(), invert(matrix), (width, height))
    # whole-pixel kernels displace the published edge by up to two and a half pixels
    assert np.abs(warped - expected).max() < 2.5 * climb
    assert np.abs(warped - expected).mean() < 0.01


@pytest.mark.parametrize("size", [0.15, 0.5, 3.0])
def test_faces_of_any_size_get_the_generated_colour(size):
    frame = np.zeros((int(720 * size), int(900 * size), 3), dtype=np.uint8)
    matrix = alignment_matrices(POINTS[:1] * size, 256)[0]
    result = FacePaster(256).paste(frame, constant_crop(256, [0.0, 0.5, -0.5]), matrix)
    x, y = np.round(invert(matrix) @ [128, 180, 1]).astype(int)
    assert np.abs(result[y, x].astype(int) - [128, 191, 64]).max() <= 1


def test_a_crop_is_shrunk_without_aliasing_into_a_small_face():
    stripes = torch.ones(3, 256, 256)
    stripes[:, :, ::2] = -1
    matrix = alignment_matrices(POINTS[:1] * 0.2, 256)[0]
    result = FacePaster(256).paste(np.full((144, 180, 3), 128, dtype=np.uint8), stripes, matrix)
    assert np.abs(result.astype(int) - 128).max() < 12


def test_a_face_outside_the_frame_changes_nothing():
    frame = noise_frame()
    result = FacePaster(128).paste(
        frame, constant_crop(128, [1.0, 1.0, 1.0]), alignment_matrices(POINTS[:1] + 5000, 128)[0]
    )
    assert np.array_equal(result, frame)


def test_a_face_across_the_border_is_pasted_up_to_it():
    frame = np.zeros((720, 900, 3), dtype=np.uint8)
    result = FacePaster(128).paste(
        frame, constant_crop(128, [1.0, 1.0, 1.0]), alignment_matrices(POINTS[:1] - 320, 128)[0]
    )
    assert result[:60, :100].max() == 255
    assert result[200:, 300:].max() == 0


def test_batch_equals_one_by_one():
    frames, matrices = [noise_frame(seed=1), noise_frame(seed=2)], alignment_matrices(POINTS, 128)
    generated = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    paster = FacePaster(128)
    for i, result in enumerate(paster.paste_batch(frames, generated, matrices)):
        assert np.array_equal(result, paster.paste(frames[i], generated[i], matrices[i]))


def smooth_crop(resolution=128):
    noise = np.random.default_rng(0).random((resolution, resolution, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return torch.from_numpy((smooth - 0.5) * 3).permute(2, 0, 1)[None].clamp(-0.7, 0.7)


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_a_constant_cast_is_removed(resolution):
    source = smooth_crop(resolution)
    cast = torch.tensor([0.15, -0.05, -0.2])[None, :, None, None]
    assert torch.allclose(match_colour(source + cast, source), source, atol=1e-3)


def test_a_sloping_cast_is_reduced_at_the_border_of_the_mask():
    source = smooth_crop(256)
    slope = torch.linspace(-0.2, 0.2, 256)[None, None, None]
    left = (match_colour(source + slope, source) - source).abs().mean(dim=1)[0]
    border = cv2.dilate(keep_mask(256).numpy(), np.ones((5, 5))) - cv2.erode(keep_mask(256).numpy(), np.ones((5, 5)))
    assert float(left[border > 0].mean()) < 0.25 * float(slope.abs().mean())


def test_an_equal_ring_leaves_the_mouth_unchanged():
    source = smooth_crop(128)
    generated = source.clone()
    generated[:, :, keep_mask(128) == 0] = 0.3
    assert torch.equal(match_colour(generated, source), generated)


def test_dtype_and_range_are_kept():
    source = smooth_crop(128)
    matched = match_colour((source + 0.9).clamp(-1, 1).to(torch.bfloat16), source)
    assert matched.dtype == torch.bfloat16
    assert float(matched.abs().max()) <= 1
