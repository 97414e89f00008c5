import numpy as np
import torch

from latentsync.diffusion.one_step import estimate_clean, signal_to_noise
from latentsync.diffusion.scheduler import build_scheduler
from tests.golden_values import det


def test_true_noise_gives_back_the_clean_latents():
    scheduler = build_scheduler("ddim")
    clean, noise = det("one_step/clean", (3, 4, 2, 5, 5)), det("one_step/noise", (3, 4, 2, 5, 5))
    timestep = torch.tensor([0, 400, 999])
    noisy = scheduler.add_noise(clean, noise, timestep)
    found = estimate_clean(noisy, noise, timestep, scheduler.alphas_cumprod)
    torch.testing.assert_close(found, clean, atol=2e-5, rtol=1e-5)


def test_agrees_with_the_schedulers_own_estimate_of_wrong_noise():
    scheduler = build_scheduler("ddim")
    scheduler.set_timesteps(1000)
    noisy, noise = det("one_step/noisy", (1, 4, 2, 5, 5)), det("one_step/wrong", (1, 4, 2, 5, 5))
    reference = scheduler.step(noise, 700, noisy).pred_original_sample
    found = estimate_clean(noisy, noise, torch.tensor([700]), scheduler.alphas_cumprod)
    torch.testing.assert_close(found, reference, atol=1e-5, rtol=1e-5)


def test_the_gradient_flows_through_the_prediction():
    scheduler = build_scheduler("ddim")
    alpha = float(scheduler.alphas_cumprod[500])
    predicted = torch.zeros(1, 1, 1, 2, 2, requires_grad=True)
    estimate_clean(torch.ones(1, 1, 1, 2, 2), predicted, torch.tensor([500]), scheduler.alphas_cumprod).sum().backward()
    assert predicted.grad is not None
    np.testing.assert_allclose(predicted.grad, -(((1 - alpha) / alpha) ** 0.5), rtol=1e-5)


def test_signal_to_noise_from_the_definition_of_the_schedule():
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    np.testing.assert_allclose(
        signal_to_noise(build_scheduler("ddim").alphas_cumprod), alphas / (1 - alphas), rtol=1e-3
    )
