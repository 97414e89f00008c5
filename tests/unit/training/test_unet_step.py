import pytest
import torch
from torch import nn

from latentsync.losses.epsilon_loss import EpsilonLoss
from latentsync.losses.loss_stack import LossStack
from latentsync.models.checkpoint import load_unet
from latentsync.training.training_step import StepContext
from latentsync.training.unet_step import DiffusionConfig, UNetStep, draw_noise
from tests.tiny_pipeline import RESOLUTION, tiny_pipeline

FRAMES = 4


@pytest.fixture(scope="module")
def synthesizer():
    return tiny_pipeline().synthesizer


@pytest.fixture
def step(synthesizer):
    return UNetStep(
        synthesizer.unet, synthesizer.codec, LossStack([EpsilonLoss(1.0, RESOLUTION)]), DiffusionConfig(), RESOLUTION
    )


def pixel_batch(num_items: int = 2) -> dict:
    generator = torch.Generator().manual_seed(0)
    shape = (num_items, FRAMES, 3, RESOLUTION, RESOLUTION)
    return {
        "pixels": torch.rand(shape, generator=generator) * 2 - 1,
        "reference": torch.rand(shape, generator=generator) * 2 - 1,
        "audio": torch.randn(num_items, FRAMES, 20, 16, generator=generator),
        "seed": torch.arange(num_items) + 10,
        "clip": [f"{index}.mp4" for index in range(num_items)],
    }


class Recorder(nn.Module):
    """Records the inputs of the network."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, sample, timestep, audio):
        self.sample, self.timestep, self.audio = sample, timestep, audio
        return torch.zeros_like(sample[:, :4])


def test_an_items_draws_depend_on_its_seed_alone():
    config = DiffusionConfig(shared_noise=[0.0, 1.0, 10.0], audio_dropout=0.5)
    together = draw_noise(torch.tensor([5, 6, 7]), (4, 3, 8, 8), config)
    alone = draw_noise(torch.tensor([7]), (4, 3, 8, 8), config)
    assert torch.equal(together.noise[2:], alone.noise)
    assert together.timestep[2] == alone.timestep[0]
    assert together.drop_audio[2] == alone.drop_audio[0]


def test_late_timesteps_and_audio_dropout_have_their_distributions():
    seeds = torch.arange(2000)
    uniform = draw_noise(seeds, (1, 1, 1, 1), DiffusionConfig(audio_dropout=0.1))
    late = draw_noise(seeds, (1, 1, 1, 1), DiffusionConfig(late_timesteps=0.5))
    assert uniform.timestep.min() >= 0
    assert uniform.timestep.max() <= 999
    assert uniform.timestep.float().mean() == pytest.approx(500, abs=25)
    assert late.timestep.float().mean() == pytest.approx(667, abs=25)
    assert uniform.drop_audio.float().mean() == pytest.approx(0.1, abs=0.03)


def test_the_network_gets_noisy_latents_mask_masked_image_and_reference(step):
    recorder, batch = Recorder(), pixel_batch()
    prediction = step.predict(recorder, batch)
    codec, keep = step.codec, step._keep
    noisy, mask, masked, reference = recorder.sample.split([4, 1, 4, 4], dim=1)

    def encoded(images):
        return codec.encode(images.flatten(0, 1)).unflatten(0, (2, FRAMES)).transpose(1, 2)

    assert torch.allclose(masked, encoded(batch["pixels"] * keep), atol=1e-5)
    assert torch.allclose(reference, encoded(batch["reference"]), atol=1e-5)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    signal = step.scheduler.alphas_cumprod[recorder.timestep][:, None, None, None, None]
    clean = encoded(batch["pixels"])
    assert torch.allclose(noisy, signal.sqrt() * clean + (1 - signal).sqrt() * prediction.noise, atol=1e-4)


def test_sampled_latents_are_drawn_by_the_items_seed(step):
    batch, recorder = pixel_batch(), Recorder()

    def shown(**changes):
        step.predict(recorder, batch | changes)
        return recorder.sample[:, 5:].clone()  # masked and reference latents

    means = shown()
    step.sample_latents = True
    first, again = shown(), shown()
    assert torch.equal(first, again)
    assert torch.equal(first[0], shown(seed=torch.tensor([10, 99]))[0])
    assert not torch.equal(first[1], shown(seed=torch.tensor([10, 99]))[1])
    distribution = step.codec.vae.encode(batch["reference"][0])[0]
    scaled = step.codec.scale * distribution.std.transpose(0, 1)
    assert ((first - means)[0, 4:] / scaled).std() == pytest.approx(1, abs=0.1)


def test_cached_latents_give_the_same_loss_as_pixels(step):
    batch = pixel_batch()

    def latents(images):
        return step.codec.encode(images.flatten(0, 1)).unflatten(0, (2, FRAMES))

    cached = {name: batch[name] for name in ("audio", "seed", "clip")} | {
        "latents": latents(batch["pixels"]),
        "masked_latents": latents(batch["pixels"] * step._keep),
        "reference_latents": latents(batch["reference"]),
    }
    context = StepContext(0, 1)
    expected, found = (step(step.model, one, context).loss for one in (batch, cached))
    assert torch.allclose(expected, found, rtol=1e-4)


def test_pure_noise_items_contain_no_trace_of_the_target(step):
    step.diffusion = DiffusionConfig(pure_noise_prob=1.0)
    recorder, batch = Recorder(), pixel_batch()
    prediction = step.predict(recorder, batch)
    noisy = recorder.sample[:, :4]
    drawn = draw_noise(batch["seed"], tuple(noisy.shape[1:]), step.diffusion).noise
    assert torch.equal(noisy, drawn)
    assert recorder.timestep.min() >= 930
    signal = step.scheduler.alphas_cumprod[recorder.timestep][:, None, None, None, None]
    rebuilt = signal.sqrt() * prediction.target_latents + (1 - signal).sqrt() * prediction.noise
    assert torch.allclose(rebuilt, noisy, atol=1e-4)


def test_dropped_audio_is_zero(step):
    recorder, batch = Recorder(), pixel_batch()
    step.diffusion = DiffusionConfig(audio_dropout=1.0)
    step.predict(recorder, batch)
    assert not recorder.audio.any()
    step.diffusion = DiffusionConfig(audio_dropout=0.0)
    step.predict(recorder, batch)
    assert torch.equal(recorder.audio, batch["audio"])


def test_export_loads_for_inference(step, tmp_path):
    path = tmp_path / "my weights" / step.export_name
    step.export(step.model.state_dict(), path, 12, {})
    unet = load_unet(step.model.unet_config, path, resolution=RESOLUTION)
    for name, tensor in unet.state_dict().items():
        assert torch.allclose(tensor, step.model.state_dict()[name], atol=2e-3, rtol=2e-3), name


@pytest.mark.parametrize(
    "wrong", [{"shared_noise": []}, {"audio_dropout": 1.5}, {"pure_noise_prob": -0.1}, {"late_timesteps": 0.0}]
)
def test_wrong_distributions_are_refused(wrong):
    with pytest.raises(ValueError, match="diffusion"):
        DiffusionConfig(**wrong)


def test_recomputed_activations_give_the_same_gradients():
    synthesizer = tiny_pipeline().synthesizer
    unet, losses = synthesizer.unet.train().requires_grad_(True), LossStack([EpsilonLoss(1.0, RESOLUTION)])
    gradients = []
    for recompute in (False, True):
        if recompute:
            unet.enable_gradient_checkpointing()
        step = UNetStep(unet, synthesizer.codec, losses, DiffusionConfig(), RESOLUTION, checkpoint_decode=recompute)
        unet.zero_grad()
        step(unet, pixel_batch(), StepContext(0, 1)).loss.backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in unet.parameters()]))
    kept, recomputed = gradients
    assert kept.norm() > 0
    assert (recomputed - kept).norm() < 1e-4 * kept.norm()
