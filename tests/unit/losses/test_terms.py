"""The terms' arithmetic against independent references."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from latentsync.judges.perceptual_distance import VaeEncoderDistance
from latentsync.losses.epsilon_loss import EpsilonLoss, mouth_weights, timestep_weights
from latentsync.losses.feature_losses import PerceptualLoss
from latentsync.losses.latent_loss import LatentLoss
from latentsync.losses.loss_stack import LossStack
from latentsync.losses.sync_loss import SyncLoss
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.syncnet_input import SyncNetInput
from tests.golden_values import det, fill_deterministic
from tests.unit.losses.tiny_losses import (
    BATCH,
    NUM_FRAMES,
    RESOLUTION,
    SYNC_RESOLUTION,
    Window,
    syncnet_config,
    tiny_codec,
)


@pytest.fixture(scope="module")
def window() -> Window:
    return Window(tiny_codec())


def test_plain_epsilon_is_the_mean_squared_error(window):
    predicted = window.noise + det("terms/error", tuple(window.noise.shape), 0.3)
    found = EpsilonLoss(1, RESOLUTION)(window.prediction(predicted.bfloat16()))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.mse_loss(predicted.bfloat16().float(), window.noise))


def test_latents_of_the_mouth_weigh_most_and_kept_ones_least():
    weights = mouth_weights(256, 32)
    assert float(weights.mean()) == pytest.approx(1)
    row, column = divmod(int(weights.argmax()), 32)
    assert 20 <= row <= 23
    assert 14 <= column <= 17
    assert float(weights[0].max()) == float(weights.min())
    assert float(weights.max() / weights.min()) == pytest.approx(5.3 / 0.3, rel=0.02)


@pytest.mark.parametrize("emphasis", [0.5, 1.0])
def test_mouth_emphasis_mixes_plain_and_weighted(window, emphasis):
    predicted = window.noise + det("terms/error", tuple(window.noise.shape), 0.3)
    squared = (predicted - window.noise) ** 2
    weighted = (squared * mouth_weights(RESOLUTION, squared.shape[-1])).mean()
    found = EpsilonLoss(1, RESOLUTION, mouth_emphasis=emphasis)(window.prediction(predicted))
    torch.testing.assert_close(found, (1 - emphasis) * squared.mean() + emphasis * weighted)


def test_timestep_weights_from_the_definition_of_the_schedule():
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    weights = 1 + np.minimum((1 - alphas) / alphas, 5.0)
    weights /= weights.mean()
    found = timestep_weights(5.0)
    np.testing.assert_allclose(found, weights, rtol=1e-3)
    assert float(found[-1] / found[0]) == pytest.approx(6, rel=0.01)


def test_high_noise_emphasis_weighs_items(window):
    predicted = window.noise + 1.0
    weights = timestep_weights(3.0)[window.timestep]
    found = EpsilonLoss(1, RESOLUTION, high_noise_emphasis=3.0)(window.prediction(predicted))
    torch.testing.assert_close(found, weights.mean())


def test_pixel_sync_uses_the_lower_half_frame_by_frame(window):
    syncnet = fill_deterministic(StableSyncNet(syncnet_config(latent_space=False)))
    prediction = window.prediction(0.7 * window.noise)
    syncnet_input = SyncNetInput(resolution=SYNC_RESOLUTION, num_frames=NUM_FRAMES)
    found = SyncLoss(1, syncnet, syncnet_input)(prediction)
    losses = []
    for item in range(BATCH):
        frames = [
            F.interpolate(frame[None], (SYNC_RESOLUTION,) * 2, mode="bicubic", align_corners=False, antialias=True)
            for frame in prediction.pixels[item]
        ]
        stacked = torch.cat([frame[:, :, SYNC_RESOLUTION // 2 :] for frame in frames], dim=1)
        seen, heard = syncnet(stacked, window.mel[item : item + 1])
        losses.append(-torch.log((seen * heard).sum()))
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_pixel_sync_resizes_without_antialiasing_on_request(window):
    syncnet = fill_deterministic(StableSyncNet(syncnet_config(latent_space=False)))
    syncnet_input = SyncNetInput(resolution=SYNC_RESOLUTION, num_frames=NUM_FRAMES)
    frames = window.prediction(0.7 * window.noise).pixels
    for antialias in (False, True):
        found = SyncLoss(1, syncnet, syncnet_input, antialias)._resize(frames)
        expected = [
            F.interpolate(item, (SYNC_RESOLUTION,) * 2, mode="bicubic", align_corners=False, antialias=antialias)
            for item in frames
        ]
        torch.testing.assert_close(found, torch.stack(expected))


def test_items_without_audio_have_no_sync_loss(window):
    syncnet = fill_deterministic(StableSyncNet(syncnet_config(latent_space=False)))
    loss = SyncLoss(1, syncnet, SyncNetInput(resolution=SYNC_RESOLUTION, num_frames=NUM_FRAMES))
    first = window.prediction(0.7 * window.noise)
    first.has_audio = torch.tensor([True] + [False] * (BATCH - 1))
    none = window.prediction(0.7 * window.noise)
    none.has_audio = torch.zeros(BATCH, dtype=torch.bool)
    every = window.prediction(0.7 * window.noise)
    every.has_audio = torch.ones(BATCH, dtype=torch.bool)
    assert loss(none) == 0
    assert loss(first) > 0
    assert loss(first) != loss(every)
    torch.testing.assert_close(loss(every), loss(window.prediction(0.7 * window.noise)))


def test_latent_sync_uses_whole_latents_frame_by_frame(window):
    syncnet = fill_deterministic(StableSyncNet(syncnet_config(latent_space=True)))
    prediction = window.prediction(0.7 * window.noise)
    syncnet_input = SyncNetInput(num_frames=NUM_FRAMES, latent_space=True, lower_half=False)
    found = SyncLoss(1, syncnet, syncnet_input)(prediction)
    stacked = torch.cat([prediction.clean_estimate[:, :, frame] for frame in range(NUM_FRAMES)], dim=1)
    seen, heard = syncnet(stacked, window.mel)
    torch.testing.assert_close(found, -torch.log((seen * heard).sum(1)).mean())
    assert "pixels" not in vars(prediction)


def test_perceptual_loss_compares_the_lower_half_only(window):
    term = PerceptualLoss(1, VaeEncoderDistance(window.codec.vae.encoder))
    prediction = window.prediction(0.7 * window.noise)
    before = term(prediction)
    assert prediction.target_pixels is not None
    changed = prediction.target_pixels.clone()
    changed[..., : RESOLUTION // 2, :] = 0
    prediction.target_pixels = changed
    torch.testing.assert_close(term(prediction), before)
    changed[..., RESOLUTION // 2 :, :] = 0
    assert abs(float(term(prediction) - before)) > 1e-4


def test_terms_compute_outside_autocast(window):
    syncnet = fill_deterministic(StableSyncNet(syncnet_config(latent_space=False)))
    stack = LossStack([SyncLoss(1, syncnet, SyncNetInput(SYNC_RESOLUTION, NUM_FRAMES))])
    plain, _ = stack(window.prediction(0.7 * window.noise))
    with torch.autocast("cpu", torch.bfloat16):
        inside, _ = stack(window.prediction(0.7 * window.noise))
    assert float(plain) == float(inside)


def test_a_stack_needs_terms_with_weights_and_names_of_their_own():
    for terms in ([], [EpsilonLoss(0, RESOLUTION)], [EpsilonLoss(1, RESOLUTION), EpsilonLoss(1, RESOLUTION)]):
        with pytest.raises(ValueError, match="loss stack"):
            LossStack(terms)


def test_latent_loss_is_hubers_distance_to_the_target_latents(window):
    prediction = window.prediction(window.noise + det("terms/error", tuple(window.noise.shape), 0.3))
    error = (prediction.clean_estimate - prediction.target_latents).abs()
    expected = torch.where(error < 0.5, error.square(), error - 0.25).mean()
    torch.testing.assert_close(LatentLoss(1, RESOLUTION, huber_delta=0.5)(prediction), expected)
    weighted = LatentLoss(1, RESOLUTION, huber_delta=1e-6, mouth_emphasis=1.0)(prediction)
    weights = mouth_weights(RESOLUTION, error.shape[-1])
    torch.testing.assert_close(weighted, (error * weights).mean(), rtol=1e-4, atol=1e-6)
