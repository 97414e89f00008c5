"""Reconstruction losses of autoencoders."""

import torch
from torch.nn import functional as F

from latentsync.losses.reconstruction import mouth_pixel_weight, reconstruction_loss, texture_loss


def test_a_colour_cast_costs_more_than_grey():
    target, weight = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    grey = torch.full_like(target, 0.1)
    cast = grey * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    assert reconstruction_loss(target, target, weight) == 0
    assert reconstruction_loss(cast, target, weight) > reconstruction_loss(grey, target, weight)


def test_texture_at_another_place_is_better_than_none():
    generator = torch.Generator().manual_seed(0)
    target, weight = torch.rand(1, 3, 32, 32, generator=generator) - 0.5, torch.ones(1, 1, 32, 32)
    shifted = target.roll((1, 1), dims=(-2, -1))
    blurred = F.avg_pool2d(F.pad(target, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    assert texture_loss(target, target, weight) == 0
    assert texture_loss(shifted, target, weight) < 0.3 * texture_loss(blurred, target, weight)
    assert reconstruction_loss(shifted, target, weight) > reconstruction_loss(blurred, target, weight)


def test_texture_counts_where_the_weight_is():
    target = torch.zeros(1, 3, 32, 32)
    output = target.clone()
    output[..., :8, :8] = torch.rand(8, 8, generator=torch.Generator().manual_seed(1))
    weight = torch.zeros(1, 1, 32, 32)
    weight[..., 16:, 16:] = 1.0
    assert texture_loss(output, target, weight) == 0
    assert texture_loss(output, target, 1 - weight) > 0


def test_the_mouth_has_the_largest_weight():
    weight = mouth_pixel_weight(64)
    assert weight.shape == (1, 64, 64)
    row, column = divmod(int(weight.argmax()), 64)
    assert abs(row - 0.68 * 63) <= 1
    assert abs(column - 31.5) <= 1
    assert weight.max() <= 2.5
    assert weight.min() >= 1.0
