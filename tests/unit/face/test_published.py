"""The published crop and paste against OpenCV and numpy."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from latentsync.face.align import (
    Aligner,
    alignment_matrices,
    crop_faces,
    crop_faces_as_published,
    invert,
    lanczos4_matrix,
)
from latentsync.face.mask import keep_mask
from latentsync.face.paste import FacePaster, PublishedPaster, soft_edge

POINTS = np.array([[[300.0, 300.0], [420.0, 295.0], [365.0, 370.0]]])


def noise_frame(softness: float) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (720, 900, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), softness), None, 0, 255, cv2.NORM_MINMAX)


def bilinear(image: np.ndarray, x: np.ndarray, y: np.ndarray, outside: float) -> np.ndarray:
    """Return bilinear samples of (h, w, 3) at pixel coordinates, float64."""
    height, width = image.shape[:2]
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros((*x.shape, 3))
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = np.abs(1 - row - (y - y0)) * np.abs(1 - column - (x - x0))
        inside = (y0 + row >= 0) & (y0 + row < height) & (x0 + column >= 0) & (x0 + column < width)
        values = image[np.clip(y0 + row, 0, height - 1), np.clip(x0 + column, 0, width - 1)].astype(float)
        total += weight[..., None] * np.where(inside[..., None], values, outside)
    return total


def warped(image: np.ndarray, to_image: np.ndarray, width: int, height: int, outside: float = 127.0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    x, y = np.einsum("ij,jhw->ihw", to_image, np.stack([columns, rows, np.ones_like(rows)]))
    return bilinear(image, x, y, outside)


@pytest.mark.parametrize(("resolution", "offset"), [(256, 0), (64, 0), (256, -330)])
def test_crops_are_a_bilinear_warp_in_whole_levels_and_then_lanczos4(resolution: int, offset: int):
    frame, points = noise_frame(1.5), POINTS[0] + [offset, offset]  # the last crop extends beyond the frame
    tall_matrix = Aligner(resolution).tall_matrix(points)
    size = {256: (210, 280), 64: (52, 70)}[resolution]
    tall = np.floor(warped(frame, invert(tall_matrix), *size) + 1e-6).astype(np.uint8)
    expected = cv2.resize(tall, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    crops = crop_faces_as_published([frame], alignment_matrices(points[None], resolution), resolution)
    levels = ((crops[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(levels - levels.round()).max() < 1e-3
    assert np.abs(levels - expected).max() <= 2
    assert np.abs(levels - expected).mean() < 0.1


def test_the_default_crop_differs():
    frame, matrices = noise_frame(1.5), alignment_matrices(POINTS, 64)
    difference = (crop_faces_as_published([frame], matrices, 64) - crop_faces([frame], matrices, 64)).abs() * 127.5
    assert difference.mean() > 2  # three frame pixels per crop pixel: the published crop is not antialiased


@pytest.mark.parametrize(("num_in", "num_out"), [(210, 256), (280, 256), (70, 64), (8, 20)])
def test_lanczos4_is_opencvs(num_in: int, num_out: int):
    row = np.random.default_rng(num_in).normal(size=(1, num_in)).astype(np.float32)
    expected = cv2.resize(row, (num_out, 1), interpolation=cv2.INTER_LANCZOS4)
    assert np.allclose(lanczos4_matrix(num_in, num_out).numpy() @ row[0], expected[0], atol=1e-4)


def test_outside_the_mask_the_crop_is_the_warped_original_and_inside_it_the_generated():
    frame, matrices = noise_frame(3), alignment_matrices(POINTS, 256)
    crops = crop_faces_as_published([frame], matrices, 256)
    white = torch.where(keep_mask(256) > 0, crops[0], torch.ones(3, 256, 256))
    result = PublishedPaster(256).paste(frame, white, matrices[0]).astype(float)

    def in_frame(weight: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(weight.astype(np.float32), invert(matrices[0]), (900, 720)) > 0.999

    solid = in_frame(soft_edge(256).numpy() > 0.999)  # where the soft edge of the crop is 1
    kept = solid & in_frame(cv2.erode(keep_mask(256).numpy(), np.ones((9, 9))))
    generated = solid & in_frame(cv2.erode(1 - keep_mask(256).numpy(), np.ones((9, 9))))
    channels = [Image.fromarray(channel).resize((210, 280), Image.Resampling.BICUBIC) for channel in crops[0].numpy()]
    tall = (np.stack(channels, axis=-1).clip(-1, 1) + 1) * 127.5
    back = warped(tall, Aligner(256).tall_matrix(POINTS[0]), 900, 720)
    assert min(kept.sum(), generated.sum()) > 3000
    assert np.abs(result - np.floor(back))[kept].max() <= 2
    assert (result != frame)[kept].mean() > 0.3  # resampled, not the frame's own pixels
    assert (result[generated] >= 254).all()
    assert np.array_equal(FacePaster(256).paste(frame, white, matrices[0])[kept], frame[kept])


def test_pixels_outside_the_crop_equal_the_frame_and_the_mask_has_a_hard_edge():
    frame, matrices = np.full((720, 900, 3), 100, np.uint8), alignment_matrices(POINTS, 256)
    crop = torch.where(keep_mask(256) > 0, torch.full((3, 256, 256), 100 / 127.5 - 1), torch.ones(3, 256, 256))
    result = PublishedPaster(256).paste(frame, crop, matrices[0])
    corners = np.array([[-1, -1], [256, -1], [256, 256], [-1, 256]]) @ invert(matrices[0])[:, :2].T
    area = cv2.fillPoly(np.zeros((720, 900), np.uint8), [np.rint(corners + invert(matrices[0])[:, 2]).astype(int)], 1)
    outside = cv2.dilate(area, np.ones((5, 5))) == 0
    assert np.array_equal(result[outside], frame[outside])
    steps = [
        np.abs(np.diff(image.astype(int), axis=0)).max()
        for image in (result, FacePaster(256).paste(frame, crop, matrices[0]))
    ]
    assert steps[0] > 60 > 2 * steps[1]


def test_a_published_paste_outside_the_frame_changes_nothing():
    frame = noise_frame(3)
    matrix = alignment_matrices(POINTS + 5000, 256)[0]
    assert np.array_equal(PublishedPaster(256).paste(frame, torch.ones(3, 256, 256), matrix), frame)
