from types import SimpleNamespace

import numpy as np
import pytest
import torch

from latentsync.diffusion.noise import window_noise
from latentsync.diffusion.sampler import SCHEDULERS, build_scheduler, denoise
from latentsync.errors import ConfigError
from tests.golden_values import det
from tests.unit.models.tiny_unet import AUDIO_WIDTH, tiny_unet

SHAPE = (2, 4, 3, 8, 8)


class PointPredictor:
    """Predicts the exact noise of clean latents that equal the mean of the audio everywhere."""

    def __init__(self):
        self.alphas = build_scheduler("ddim").alphas_cumprod
        self.batches, self.prepared, self.reused = [], 0, []

    def prepare_audio(self, audio):
        self.prepared += 1
        return audio.mean(dim=(1, 2, 3))[:, None, None, None, None]

    def new_deep_features(self):
        return SimpleNamespace(reuse=False)

    def __call__(self, sample, timestep, audio, deep_features=None):
        self.batches.append(len(sample))
        self.reused.append(deep_features is not None and deep_features.reuse)
        alpha = self.alphas[int(timestep)]
        return (sample[:, :4] - alpha.sqrt() * audio) / (1 - alpha).sqrt()


def inputs(batch: int = 2):
    noise = window_noise(1, 0, (batch, *SHAPE[1:]))
    conditioning = det("sampler/constant", (2, 9, *SHAPE[2:]))[:batch]
    return noise, conditioning, det("sampler/audio", (2, SHAPE[2], 5, AUDIO_WIDTH))[:batch]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_exact_predictions_lead_to_the_clean_latents(name):
    noise, conditioning, audio = inputs()
    predictor, steps = PointPredictor(), []
    latents = denoise(predictor, build_scheduler(name), noise, conditioning, audio + 1, 20, 1.0, progress=steps.append)
    expected = (audio + 1).mean(dim=(1, 2, 3))[:, None, None, None, None].expand(SHAPE)
    assert torch.allclose(latents, expected, atol=0.1)
    assert predictor.batches == [2] * 20
    assert predictor.prepared == 1
    assert steps == list(range(1, 21))


def test_guidance_extrapolates_from_the_unconditional_half_in_one_batch():
    noise, conditioning, audio = inputs()
    predictor = PointPredictor()
    latents = denoise(predictor, build_scheduler(), noise, conditioning, audio + 1, 10, 1.5)
    expected = 1.5 * (audio + 1).mean(dim=(1, 2, 3))[:, None, None, None, None].expand(SHAPE)
    assert torch.allclose(latents, expected, atol=0.15)
    assert predictor.batches == [4] * 10


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_second_call_starts_from_a_reset_state(name):
    unet, scheduler = tiny_unet(), build_scheduler(name)
    first, again = (denoise(unet, scheduler, *inputs(), 5, 1.5) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_windows_do_not_depend_on_their_batch(name):
    unet = tiny_unet()
    together = denoise(unet, build_scheduler(name), *inputs(), 5, 1.5)
    alone = denoise(unet, build_scheduler(name), *inputs(batch=1), 5, 1.5)
    assert torch.allclose(together[:1], alone, atol=1e-4)


def test_deepcache_interval_one_is_exact_and_three_is_close_and_cheaper():
    unet = tiny_unet()
    calls = {"deep": 0, "shallow": 0}
    unet.mid_block.register_forward_hook(lambda *_: calls.update(deep=calls["deep"] + 1))
    unet.up_blocks[-1].register_forward_hook(lambda *_: calls.update(shallow=calls["shallow"] + 1))
    exact = denoise(unet, build_scheduler(), *inputs(), 20, 1.5)
    assert torch.equal(exact, denoise(unet, build_scheduler(), *inputs(), 20, 1.5, deepcache_interval=1))
    calls.update(deep=0, shallow=0)
    cached = denoise(unet, build_scheduler(), *inputs(), 20, 1.5, deepcache_interval=3)
    assert calls == {"deep": 7, "shallow": 20}
    start = window_noise(1, 0, SHAPE)
    assert (cached - exact).norm() < 0.1 * (exact - start).norm()


def test_deepcache_reuses_two_steps_of_three():
    predictor = PointPredictor()
    denoise(predictor, build_scheduler(), *inputs(), 7, 1.0, deepcache_interval=3)
    assert predictor.reused == [False, True, True, False, True, True, False]


def test_deepcache_computes_all_levels_when_guidance_changes():
    unet, batches = tiny_unet(), []
    unet.mid_block.register_forward_hook(lambda _, given, __: batches.append(len(given[0])))
    options = {"deepcache_interval": 3, "guidance_interval": (0.2, 0.6)}
    latents = denoise(unet, build_scheduler("ddim", "trailing"), *inputs(), 10, 1.5, **options)
    assert batches == [n * SHAPE[2] for n in (2, 2, 4, 4, 2)]  # at 999, 699, 599, 299, 199
    assert latents.isfinite().all()


def test_timesteps_outside_of_the_interval_evaluate_the_conditional_half_only():
    noise, conditioning, audio = inputs()
    predictor = PointPredictor()
    scheduler = build_scheduler("ddim", "trailing")
    latents = denoise(predictor, scheduler, noise, conditioning, audio + 1, 2, 1.5, guidance_interval=(0.0, 0.5))
    assert predictor.batches == [2, 4]  # 999 and 499
    assert predictor.prepared == 2
    clean = (audio + 1).mean(dim=(1, 2, 3))[:, None, None, None, None].expand(SHAPE)
    alphas = build_scheduler().alphas_cumprod
    after_first = alphas[499].sqrt() * clean + (1 - alphas[499]).sqrt() * exact_noise(noise, clean, alphas[999])
    guided = 1.5 * exact_noise(after_first, clean, alphas[499]) - 0.5 * exact_noise(after_first, 0, alphas[499])
    estimate = (after_first - (1 - alphas[499]).sqrt() * guided) / alphas[499].sqrt()
    assert torch.allclose(latents, alphas[0].sqrt() * estimate + (1 - alphas[0]).sqrt() * guided, atol=1e-4)


def exact_noise(noisy: torch.Tensor, clean: torch.Tensor | float, alpha: torch.Tensor) -> torch.Tensor:
    return (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()


def test_a_half_guided_run_of_equal_steps_equals_its_two_parts():
    unet = tiny_unet()
    unguided, guided = (denoise(unet, build_scheduler(), *inputs(), 5, scale) for scale in (1.0, 1.5))
    for interval, expected in (((0.0, 1.0), guided), ((0.9, 1.0), unguided)):  # the first timestep is 801
        assert torch.equal(denoise(unet, build_scheduler(), *inputs(), 5, 1.5, guidance_interval=interval), expected)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_trailing_timesteps_start_at_the_last_one(name):
    scheduler = build_scheduler(name, "trailing")
    for steps, expected in ((1, [999]), (2, [999, 499]), (4, [999, 749, 499, 249])):
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == expected


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_trailing_timesteps_lead_exact_predictions_to_the_clean_latents(name, steps):
    noise, conditioning, audio = inputs()
    predictor = PointPredictor()
    latents = denoise(predictor, build_scheduler(name, "trailing"), noise, conditioning, audio + 1, steps, 1.0)
    expected = (audio + 1).mean(dim=(1, 2, 3))[:, None, None, None, None].expand(SHAPE)
    assert torch.allclose(latents, expected, atol=0.1)
    assert predictor.batches == [2] * steps


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_trailing_count_that_diffusers_exceeds_has_its_number_of_steps(name):
    scheduler, predictor = build_scheduler(name, "trailing"), PointPredictor()
    scheduler.set_timesteps(61)
    assert scheduler.timesteps[-2:].tolist() == [15, -1]
    assert denoise(predictor, scheduler, *inputs(), 61, 1.0).isfinite().all()
    assert predictor.batches == [2] * 61


def test_half_precision_network_keeps_full_precision_latents():
    noise, conditioning, audio = inputs()
    unet = tiny_unet().bfloat16()
    latents = denoise(unet, build_scheduler(), noise, conditioning.bfloat16(), audio.bfloat16(), 4, 1.5)
    assert latents.dtype == torch.float32
    assert latents.isfinite().all()


@pytest.mark.parametrize(("steps", "interval"), [(0, 1), (5, 0)])
def test_wrong_counts_are_refused(steps, interval):
    with pytest.raises(ValueError, match="must be at least 1"):
        denoise(PointPredictor(), build_scheduler(), *inputs(), steps, 1.0, deepcache_interval=interval)


def reference_alphas() -> np.ndarray:
    """Cumulative alphas of the scaled-linear schedule, in float64."""
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
