import cv2
import numpy as np
import pytest
import torch

from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.mask import keep_mask
from latentsync.face.occlusion import OcclusionFiller, hidden_share, keep_weight
from latentsync.face.paste import FacePaster
from tests.unit.face.test_paste import POINTS, constant_crop, noise_frame

HEIGHT, WIDTH = 720, 900
MATRICES = alignment_matrices(POINTS, 128)
FACE_SIDE = 128 / float(np.sqrt(np.linalg.det(MATRICES[0][:, :2])))

NEARLY = 0.05
"""Resampling spreads the occluder's colours a little beyond the filled pixels."""


def disc(x=372, y=440, radius=40):
    """A white disc with an antialiased border in front of the mouth of POINTS[0]."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    return cv2.circle(mask, (x, y), radius, 255, -1, cv2.LINE_AA)


def test_white_pixels_have_the_weight_1_and_the_border_is_soft_outwards_only():
    mask, box = disc(), (250, 345, 500, 545)
    weight = keep_weight(mask, box, FACE_SIDE)
    part = mask[345:545, 250:500]
    assert weight.shape == part.shape
    assert (weight[part == 255] == 1).all()
    assert (weight >= part.astype(np.float32) / 255 - 1e-6).all()
    row = weight[95]
    assert np.abs(np.diff(row)).max() < 0.35
    assert 0.1 < weight[part == 0].max() < 1
    far = cv2.dilate(mask, np.ones((31, 31)))[345:545, 250:500] == 0
    assert (weight[far] == 0).all()


def test_the_weight_does_not_depend_on_the_box():
    whole = keep_weight(disc(), (0, 0, WIDTH, HEIGHT), FACE_SIDE)
    for box in [(340, 420, 420, 490), (365, 345, 500, 445)]:
        x0, y0, x1, y1 = box
        assert np.allclose(keep_weight(disc(), box, FACE_SIDE), whole[y0:y1, x0:x1], atol=1e-6)
    assert (keep_weight(disc(), (700, 600, 720, 650), FACE_SIDE) == 0).all()


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_occluded_pixels_equal_the_source_bit_for_bit_and_others_are_generated(strength):
    frame, crop, mask = noise_frame(), constant_crop(128, [1.0, -1.0, 1.0]), disc()
    paster = FacePaster(128)
    free = paster.paste(frame, crop, MATRICES[0], strength)
    result = paster.paste(frame, crop, MATRICES[0], strength, mask)
    assert np.array_equal(result[mask == 255], frame[mask == 255])
    assert (free[mask == 255] != frame[mask == 255]).any(axis=-1).mean() > 0.9
    far = cv2.dilate(mask, np.ones((31, 31))) == 0
    assert np.array_equal(result[far], free[far])
    assert np.array_equal(paster.paste(frame, crop, MATRICES[0], strength, np.zeros_like(mask)), free)


def test_the_strength_fades_to_the_source():
    frame, crop, paster = noise_frame(), constant_crop(128, [1.0, 1.0, 1.0]), FacePaster(128)
    full = paster.paste(frame, crop, MATRICES[0])
    assert np.array_equal(paster.paste(frame, crop, MATRICES[0], 1.0), full)
    assert np.array_equal(paster.paste(frame, crop, MATRICES[0], 0.0), frame)
    half = paster.paste(frame, crop, MATRICES[0], 0.5).astype(float)
    assert np.abs(half - (full.astype(float) + frame) / 2).max() <= 1


def occluded_crops(masks):
    """Return the crops of two frames without and with a green occluder."""
    frames = [noise_frame(seed=3), noise_frame(seed=3)]
    occluded = [np.where(mask[..., None] > 0, np.array([0, 255, 0]), frame).astype(np.uint8)
                for frame, mask in zip(frames, masks, strict=True)]  # fmt: skip
    matrices = np.stack([MATRICES[0]] * 2)
    return crop_faces(frames, matrices, 128), crop_faces(occluded, matrices, 128), matrices


def greenness(crops):
    return float((crops[:, 1] - (crops[:, 0] + crops[:, 2]) / 2).max())


def test_the_occluder_is_filled_with_colours_of_the_face_around():
    masks = [disc(), disc()]
    free, occluded, matrices = occluded_crops(masks)
    filled = OcclusionFiller().fill(occluded, masks, matrices)
    assert filled.shape == occluded.shape
    assert greenness(occluded) > 1.8
    assert greenness(filled) < greenness(free) + 0.05
    unchanged = (filled == occluded).all(dim=1)
    assert 0.7 < float(unchanged.float().mean()) < 0.97
    assert torch.equal(filled[0], filled[1])


def test_a_moving_occluder_is_filled_with_what_was_visible_before():
    masks = [disc(x=250), disc()]
    free, occluded, matrices = occluded_crops(masks)
    filled = OcclusionFiller().fill(occluded, masks, matrices)
    assert float((filled[1] - free[1]).abs().max()) < NEARLY
    assert float((filled[0] - free[0]).abs().max()) > 2 * NEARLY


def test_frames_without_an_occluder_are_unchanged_also_over_several_calls():
    empty = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    free, occluded, matrices = occluded_crops([empty, disc()])
    filler = OcclusionFiller()
    assert torch.equal(filler.fill(occluded[:1], [empty], matrices[:1]), free[:1])
    assert float((filler.fill(occluded[1:], [disc()], matrices[1:]) - free[1:]).abs().max()) < NEARLY


def test_the_hidden_share_is_that_of_the_generated_region():
    empty, white = np.zeros((HEIGHT, WIDTH), dtype=np.uint8), np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    assert hidden_share(empty, MATRICES[0], 128) == 0
    assert hidden_share(white, MATRICES[0], 128) == pytest.approx(1, abs=1e-5)
    above = white.copy()
    above[330:] = 0  # the brows are at 300, the nose at 370
    assert hidden_share(above, MATRICES[0], 128) == 0
    scale = np.sqrt(np.linalg.det(MATRICES[0][:, :2]))
    area = float((1 - keep_mask(128)).sum())
    assert hidden_share(disc(), MATRICES[0], 128) == pytest.approx(np.pi * (40 * scale) ** 2 / area, rel=0.05)


def test_an_entirely_occluded_face_and_a_thin_thing_in_a_large_face():
    white = np.full((HEIGHT, WIDTH), 255, dtype=np.uint8)
    _, occluded, matrices = occluded_crops([white, white])
    assert bool(OcclusionFiller().fill(occluded, [white, white], matrices).isfinite().all())
    large = alignment_matrices(POINTS[:1] * 4 - 1000, 128)
    thin = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    thin[:, 500:502] = 255
    frame = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    frame[thin > 0] = (0, 255, 0)
    crops = crop_faces([frame], large, 128)
    assert greenness(crops) > 0.1
    assert greenness(OcclusionFiller().fill(crops, [thin], large)) < 0.05
