import numpy as np
import pytest
import torch

from latentsync.diffusion.scheduler import SCHEDULERS, build_scheduler
from latentsync.errors import ConfigError


def reference_alphas() -> np.ndarray:
    """Cumulative alphas of the scaled-linear schedule, written out in float64."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return np.cumprod(1 - betas)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_noise_schedule(name):
    scheduler = build_scheduler(name)
    assert np.allclose(scheduler.alphas_cumprod.numpy(), reference_alphas(), rtol=1e-4)
    assert float(scheduler.init_noise_sigma) == 1.0


def test_ddim_steps_follow_the_paper():
    scheduler, alphas = build_scheduler("ddim"), reference_alphas()
    scheduler.set_timesteps(20)
    assert scheduler.timesteps.tolist() == list(range(951, 0, -50))
    x, noise = torch.tensor([0.7]), torch.tensor([-0.4])
    for timestep, after in ((501, alphas[451]), (1, alphas[0])):
        clean = (0.7 + (1 - alphas[timestep]) ** 0.5 * 0.4) / alphas[timestep] ** 0.5
        expected = after**0.5 * clean - (1 - after) ** 0.5 * 0.4
        assert float(scheduler.step(noise, timestep, x).prev_sample) == pytest.approx(expected, rel=1e-4)


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="use ddim, "):
        build_scheduler("euler")
