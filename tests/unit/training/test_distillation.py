from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from latentsync.diffusion.noise import mixed_noise
from latentsync.diffusion.sampler import build_scheduler, denoise
from latentsync.losses.latent_loss import LatentLoss
from latentsync.losses.loss_stack import LossStack
from latentsync.storage.content_cache import ArrayCache
from latentsync.training.distillation import DistillationConfig, DistillationStep, Teacher
from latentsync.training.training_step import StepContext
from latentsync.training.unet_step import DiffusionConfig
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline

FRAMES = 2
CONFIG = DistillationConfig(teacher_steps=3)
SHARED = DiffusionConfig(shared_noise=[float("inf")])


@pytest.fixture(scope="module")
def networks():
    """A tiny network for the student and an equal one for the teacher."""
    return SimpleNamespace(student=tiny_pipeline().synthesizer, teacher=tiny_pipeline().synthesizer)


def build_step(networks, folder, config: DistillationConfig = CONFIG, key: str = "weights") -> DistillationStep:
    teacher = Teacher(networks.teacher.unet, config, ArrayCache(folder), key)
    losses = LossStack([LatentLoss(1.0, RESOLUTION, 0.1)])
    student = networks.student
    return DistillationStep(teacher, student.unet.train(), student.codec, losses, SHARED, RESOLUTION)


def batch(num_items: int = 2) -> dict:
    generator = torch.Generator().manual_seed(0)
    shape = (num_items, FRAMES, 4, RESOLUTION // 8, RESOLUTION // 8)
    names = ("latents", "masked_latents", "reference_latents")
    return {name: torch.randn(shape, generator=generator) for name in names} | {
        "audio": torch.randn(num_items, FRAMES, 20, 16, generator=generator),
        "seed": torch.arange(num_items) + 10,
        "start": torch.arange(num_items),
        "reference_start": torch.arange(num_items) + 8,
        "variant": torch.zeros(num_items, dtype=torch.long),
        "clip_key": [f"key {index}" for index in range(num_items)],
    }


def files(folder) -> list:
    return sorted(folder.rglob("*.npy"))


def test_targets_are_the_teachers_guided_result_from_the_same_noise(networks, tmp_path):
    step, items = build_step(networks, tmp_path), batch()
    prediction = step.predict(step.model, items)
    window = (1, 4, FRAMES, RESOLUTION // 8, RESOLUTION // 8)
    noise = mixed_noise(window, [_generator_after_draws(10)], float("inf"))
    latents = step._latents(items)
    unet, scheduler = networks.teacher.unet, build_scheduler()
    expected = denoise(unet, scheduler, noise, step._conditioning(latents)[:1], items["audio"][:1], 3, 1.5)
    assert torch.allclose(prediction.target_latents[:1], expected, atol=5e-3, rtol=5e-3)
    assert torch.equal(prediction.target_latents[:2], prediction.target_latents[2:])


def _generator_after_draws(seed: int) -> torch.Generator:
    """Return an item's generator after the draws that precede its noise."""
    generator = torch.Generator().manual_seed(seed)
    torch.randint(1, (), generator=generator)
    torch.rand(3, generator=generator)
    return generator


def test_the_students_estimates_are_those_of_sampling_in_one_and_two_steps(networks, tmp_path):
    step, items = build_step(networks, tmp_path), batch()
    with torch.no_grad():
        prediction = step.predict(step.model, items)
    assert prediction.timestep.tolist() == [999, 999, 499, 499]
    conditioning = step._conditioning(step._latents(items))
    alphas = step.scheduler.alphas_cumprod
    start = mixed_noise((2, 4, FRAMES, 8, 8), [_generator_after_draws(seed) for seed in (10, 11)], float("inf"))
    for num_steps, found in ((1, prediction.clean_estimate[:2]), (2, prediction.clean_estimate[2:])):
        scheduler = build_scheduler("ddim", "trailing")
        with torch.no_grad():
            result = denoise(step.model, scheduler, start, conditioning, items["audio"], num_steps, 1.0)
        # the schedule ends slightly before the clean latents: at its first timestep
        slack = 3 * float((1 - alphas[0]).sqrt())
        assert (found - result).abs().mean() < slack


def test_gradients_of_the_second_step_do_not_pass_the_first(networks, tmp_path):
    step, items = build_step(networks, tmp_path), batch(1)
    prediction = step.predict(step.model, items)
    inputs = []

    class Recorder(nn.Module):
        def forward(self, sample, timestep, audio):
            inputs.append(sample)
            return step.model(sample, timestep, audio)

    step.predict(Recorder(), items)
    assert not any(sample.requires_grad for sample in inputs)
    assert prediction.clean_estimate.requires_grad


def test_a_window_is_computed_once_by_each_teacher(networks, tmp_path):
    items = batch()
    step = build_step(networks, tmp_path)
    first = step(step.model, items, StepContext(0, 1)).loss
    step.teacher._sample = lambda *_: pytest.fail("sampled again")
    assert torch.equal(step(step.model, items, StepContext(0, 1)).loss, first)
    assert len(files(tmp_path)) == 2
    for other in ({"config": replace(CONFIG, teacher_guidance=2.0)}, {"key": "other weights"}):
        build_step(networks, tmp_path, **other).predict(step.model, items)
    assert len(files(tmp_path)) == 6
    build_step(networks, tmp_path).predict(step.model, items | {"seed": torch.tensor([10, 99])})
    assert len(files(tmp_path)) == 7


def test_a_damaged_target_is_computed_again(networks, tmp_path):
    step, items = build_step(networks, tmp_path), batch(1)
    expected = step.predict(step.model, items).target_latents
    files(tmp_path)[0].write_bytes(b"no array")
    assert torch.equal(step.predict(step.model, items).target_latents, expected)
    assert np.load(files(tmp_path)[0]).dtype == np.float16


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_steps": 0},
        {"teacher_steps": 0},
        {"teacher_spacing": "linear"},
        {"teacher_guidance": 0.5},
        {"teacher_guidance_interval": [0.6, 0.5]},
        {"teacher_guidance_interval": [0.5]},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="distillation"):
        DistillationConfig(**wrong)
