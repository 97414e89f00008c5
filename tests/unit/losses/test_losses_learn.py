"""Overfitting one clip lowers every term alone; its gradient reaches the U-Net, and pixels are decoded on demand."""

from pathlib import Path

import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from latentsync.losses.build import VGG16_FILE, build_losses
from latentsync.losses.loss_config import (
    EpsilonLossConfig,
    LossesConfig,
    PerceptualLossConfig,
    SyncLossConfig,
    TrepaLossConfig,
)
from tests.tiny_networks import tiny_unet
from tests.unit.losses.tiny_losses import (
    BATCH,
    NUM_FRAMES,
    RESOLUTION,
    Window,
    tiny_codec,
    write_syncnet,
    write_videomae,
)

OFF = EpsilonLossConfig(weight=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A repository folder with the files of the frozen networks."""
    root = tmp_path_factory.mktemp("root")
    write_videomae(root)
    for latent_space in (False, True):
        folder = root / ("latent" if latent_space else "pixel")
        folder.mkdir()
        write_syncnet(folder, latent_space)
    (root / VGG16_FILE).parent.mkdir(parents=True)
    torch.manual_seed(0)
    weights = {f"features.{name}": tensor.half() for name, tensor in make_layers(cfgs["D"]).state_dict().items()}
    torch.save(weights, root / VGG16_FILE)
    return root


def sync(space: str) -> SyncLossConfig:
    return SyncLossConfig(weight=1, config=f"{space}/syncnet.yaml", checkpoint=f"{space}/syncnet.pt", space=space)


TERMS = {
    "epsilon": LossesConfig(),
    "epsilon_emphasised": LossesConfig(EpsilonLossConfig(1, mouth_emphasis=1, high_noise_emphasis=5)),
    "sync_pixel": LossesConfig(OFF, sync=sync("pixel")),
    "sync_latent": LossesConfig(OFF, sync=sync("latent")),
    "vae_encoder": LossesConfig(OFF, perceptual=PerceptualLossConfig(1, "vae_encoder")),
    "vgg16": LossesConfig(OFF, perceptual=PerceptualLossConfig(1)),
    "trepa": LossesConfig(OFF, trepa=TrepaLossConfig(1, "videomae.pt")),
}
DECODES = {"sync_pixel", "vae_encoder", "vgg16", "trepa"}


def build(config: LossesConfig, codec, root: Path):
    return build_losses(config, codec, "cpu", torch.float32, RESOLUTION, NUM_FRAMES, root)


@pytest.mark.parametrize("name", TERMS)
def test_overfitting_one_clip_lowers_the_term(name, root):
    codec = tiny_codec()
    losses, window, unet = build(TERMS[name], codec, root), Window(codec), tiny_unet()
    optimizer = torch.optim.Adam(unet.parameters(), lr=3e-3)
    values = []
    codec.num_decoded = 0
    for step in range(8):
        total, terms = losses(window.predict(unet))
        total.backward()
        if step == 0:
            gradients = [parameter.grad for parameter in unet.parameters() if parameter.grad is not None]
            assert len(gradients) > 50
            assert all(torch.isfinite(gradient).all() for gradient in gradients)
            assert sum(float(gradient.abs().sum() > 0) for gradient in gradients) > 0.9 * len(gradients)
        optimizer.step()
        optimizer.zero_grad()
        values.append(float(total.detach()))
        assert float(terms[losses.terms[0].name]) == pytest.approx(values[-1])
    assert min(values[-2:]) < 0.9 * values[0]
    assert codec.num_decoded == (8 * BATCH * NUM_FRAMES if name in DECODES else 0)
    assert not any(parameter.grad is not None for parameter in codec.vae.parameters())


def test_all_terms_together_decode_once(root):
    codec = tiny_codec()
    config = LossesConfig(
        EpsilonLossConfig(),
        sync("pixel"),
        PerceptualLossConfig(0.1, "vae_encoder"),
        TrepaLossConfig(10, "videomae.pt"),
    )
    losses, window = build(config, codec, root), Window(codec)
    assert losses.needs_pixels
    assert losses.needs_target_pixels
    assert losses.needs_mel
    codec.num_decoded = 0
    predicted = (0.5 * window.noise).requires_grad_()
    total, values = losses(window.prediction(predicted))
    assert codec.num_decoded == BATCH * NUM_FRAMES
    assert list(values) == ["epsilon", "sync", "perceptual", "trepa"]
    weighted = values["epsilon"] + values["sync"] + 0.1 * values["perceptual"] + 10 * values["trepa"]
    torch.testing.assert_close(total.detach(), weighted)
    assert not any(value.requires_grad for value in values.values())
    total.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


def test_recomputing_the_decoder_changes_nothing(root):
    codec = tiny_codec()
    losses, window = build(TERMS["vae_encoder"], codec, root), Window(codec)
    gradients = []
    for checkpoint_decode in (False, True):
        predicted = (0.5 * window.noise).requires_grad_()
        total, _ = losses(window.prediction(predicted, checkpoint_decode))
        total.backward()
        gradients.append((float(total.detach()), predicted.grad))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-4, atol=1e-7)


def test_perfect_noise_is_the_best_prediction(root):
    codec = tiny_codec()
    window = Window(codec)
    for name in ("epsilon", "vae_encoder", "trepa"):
        losses = build(TERMS[name], codec, root)
        assert float(losses(window.prediction(window.noise))[0]) < 1e-6
        assert float(losses(window.prediction(0.8 * window.noise))[0]) > 1e-5
