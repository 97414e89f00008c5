import numpy as np
import pytest
import torch

from latentsync.diffusion.noise import mixed_noise, predict_x0, signal_to_noise_ratio, window_noise
from latentsync.diffusion.sampler import build_scheduler
from tests.golden_values import det


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(("weight", "correlation"), [(0.0, 0.0), (1.0, 0.5), (2.0, 0.8), (float("inf"), 1.0)])
def test_mixed_noise_variance_and_correlation(weight, correlation):
    noise = mixed_noise((2, 4, 6, 48, 48), generators(1, 2), weight)
    assert noise.std() == pytest.approx(1, abs=0.02)
    frames = noise.transpose(1, 2).flatten(2)
    pairs = torch.stack([torch.corrcoef(window)[0, 1:] for window in frames])
    assert torch.allclose(pairs, torch.full_like(pairs, correlation), atol=0.04)


def test_mixed_noise_of_a_window_depends_on_its_generator_alone():
    together = mixed_noise((2, 4, 3, 8, 8), generators(1, 2))
    alone = mixed_noise((1, 4, 3, 8, 8), generators(2))
    assert torch.equal(together[1:], alone)
    with pytest.raises(ValueError, match="one generator per window: 2, not 1"):
        mixed_noise((2, 4, 3, 8, 8), generators(1))


def test_window_noise_is_shared_by_frames_and_independent_of_sizes():
    noise = window_noise(3, 0, (2, 4, 16, 8, 8))
    assert torch.equal(noise, noise[:1, :, :1].expand_as(noise))
    assert torch.equal(noise[:1, :, :5], window_noise(3, 0, (1, 4, 5, 8, 8)))
    assert not torch.equal(noise, window_noise(4, 0, (2, 4, 16, 8, 8)))
    assert not torch.equal(noise, window_noise(3, 1, (2, 4, 16, 8, 8)))
    assert window_noise(-1, 0, (1, 4, 1, 64, 64)).std() == pytest.approx(1, abs=0.03)


def test_x0_prediction_from_the_true_noise_is_exact():
    scheduler = build_scheduler("ddim")
    clean, noise = det("one_step/clean", (3, 4, 2, 5, 5)), det("one_step/noise", (3, 4, 2, 5, 5))
    timestep = torch.tensor([0, 400, 999])
    noisy = scheduler.add_noise(clean, noise, timestep)
    found = predict_x0(noisy, noise, timestep, scheduler.alphas_cumprod)
    torch.testing.assert_close(found, clean, atol=2e-5, rtol=1e-5)


def test_x0_prediction_agrees_with_diffusers():
    scheduler = build_scheduler("ddim")
    scheduler.set_timesteps(1000)
    noisy, noise = det("one_step/noisy", (1, 4, 2, 5, 5)), det("one_step/wrong", (1, 4, 2, 5, 5))
    reference = scheduler.step(noise, 700, noisy).pred_original_sample
    found = predict_x0(noisy, noise, torch.tensor([700]), scheduler.alphas_cumprod)
    torch.testing.assert_close(found, reference, atol=1e-5, rtol=1e-5)


def test_the_gradient_flows_through_the_predicted_noise():
    scheduler = build_scheduler("ddim")
    alpha = float(scheduler.alphas_cumprod[500])
    predicted = torch.zeros(1, 1, 1, 2, 2, requires_grad=True)
    predict_x0(torch.ones(1, 1, 1, 2, 2), predicted, torch.tensor([500]), scheduler.alphas_cumprod).sum().backward()
    assert predicted.grad is not None
    np.testing.assert_allclose(predicted.grad, -(((1 - alpha) / alpha) ** 0.5), rtol=1e-5)


def test_signal_to_noise_from_the_definition_of_the_schedule():
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    np.testing.assert_allclose(
        signal_to_noise_ratio(build_scheduler("ddim").alphas_cumprod), alphas / (1 - alphas), rtol=1e-3
    )
