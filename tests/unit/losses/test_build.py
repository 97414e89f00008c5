from pathlib import Path

import pytest
import torch

from latentsync.config import load_config
from latentsync.errors import CheckpointError, ConfigError
from latentsync.judges.videomae import VideoFeatures, VideoMaeSize, save_small_videomae
from latentsync.losses import build as build_module
from latentsync.losses.build import build_losses
from latentsync.losses.loss_config import (
    EpsilonLossConfig,
    LossesConfig,
    PerceptualLossConfig,
    SyncLossConfig,
    TrepaLossConfig,
)
from latentsync.losses.sync_loss import SyncLoss
from tests.unit.losses.tiny_losses import RESOLUTION, tiny_codec, write_syncnet

SYNC_CONFIG = Path(__file__).parents[3] / "configs" / "syncnet" / "syncnet_16_pixel_attn.yaml"


def build(config: LossesConfig, root: Path, num_frames: int = 16):
    return build_losses(config, tiny_codec(), "cpu", torch.float32, RESOLUTION, num_frames, root)


def test_published_stage_one_looks_for_no_file(tmp_path, monkeypatch):
    for name in ("locate", "load_syncnet", "load_vgg_lpips", "load_small_videomae", "load_published_videomae"):
        monkeypatch.setattr(build_module, name, lambda *_: pytest.fail("a frozen network was looked for"))
    stack = build_losses(LossesConfig(), None, "cpu", torch.float32, RESOLUTION, root=tmp_path)
    assert [(term.name, term.weight) for term in stack.terms] == [("epsilon", 1.0)]
    assert [stack.needs_pixels, stack.needs_target_pixels, stack.needs_mel] == [False] * 3


MISSING = {
    "stable_syncnet.pt": LossesConfig(sync=SyncLossConfig(weight=0.05, config=str(SYNC_CONFIG))),
    "vgg16-397923af.pth": LossesConfig(perceptual=PerceptualLossConfig(weight=0.1)),
    "vit_g_hybrid_pt_1200e_ssv2_ft.pth": LossesConfig(trepa=TrepaLossConfig(weight=10)),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_weights_are_one_line_with_file_and_remedy(name, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        build(MISSING[name], tmp_path)
    message = str(caught.value)
    assert name in message
    assert "scripts.download_weights --training" in message
    assert "\n" not in message


def test_a_missing_stand_in_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"tiny\.pt is missing"):
        build(LossesConfig(trepa=TrepaLossConfig(10, "tiny.pt")), tmp_path)


def test_networks_of_other_windows_are_refused(tmp_path):
    config, checkpoint = write_syncnet(tmp_path)
    with pytest.raises(ConfigError, match="takes 4 frames"):
        build(LossesConfig(sync=SyncLossConfig(1, config, checkpoint)), tmp_path)
    with pytest.raises(ConfigError, match="takes pixels"):
        build(LossesConfig(sync=SyncLossConfig(1, config, checkpoint, "latent")), tmp_path, num_frames=4)
    size = VideoMaeSize(16, 8, 2, 4, 16, 1, 2, 24)
    save_small_videomae(tmp_path / "tiny.pt", size, VideoFeatures(size).state_dict())
    with pytest.raises(ConfigError, match="takes 4 frames"):
        build(LossesConfig(trepa=TrepaLossConfig(1, "tiny.pt")), tmp_path)


@pytest.mark.parametrize("antialias", [True, False])
def test_the_sync_loss_resizes_as_configured(tmp_path, antialias):
    config, checkpoint = write_syncnet(tmp_path)
    losses = LossesConfig(EpsilonLossConfig(0), SyncLossConfig(1, config, checkpoint, antialias=antialias))
    (term,) = build(losses, tmp_path, num_frames=4).terms
    assert isinstance(term, SyncLoss)
    assert term.antialias is antialias


def test_losses_that_decode_demand_a_codec(tmp_path):
    config, checkpoint = write_syncnet(tmp_path)
    losses = LossesConfig(sync=SyncLossConfig(1, config, checkpoint))
    with pytest.raises(ValueError, match="codec"):
        build_losses(losses, None, "cpu", torch.float32, RESOLUTION, 4, tmp_path)


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("perceptual.network=alex", "vgg16"),
        ("sync.space=mel", "latent"),
        ("trepa.weight=-1", "trepa"),
        ("epsilon.mouth_emphasis=2", "mouth_emphasis"),
        ("epsilon.weight=0", "every weight"),
    ],
)
def test_wrong_values_in_a_configuration_are_one_line(override, word, tmp_path):
    (tmp_path / "losses.yaml").write_text("{}")
    with pytest.raises(ConfigError, match=word) as caught:
        load_config(tmp_path / "losses.yaml", LossesConfig, [override])
    assert "\n" not in str(caught.value)


def test_published_stage_two_weights_can_be_said(tmp_path):
    (tmp_path / "losses.yaml").write_text("sync: {weight: 0.05}\nperceptual: {weight: 0.1}\ntrepa: {weight: 10}\n")
    config = load_config(tmp_path / "losses.yaml", LossesConfig)
    assert config.epsilon == EpsilonLossConfig()
    assert (config.sync.weight, config.perceptual.weight, config.trepa.weight) == (0.05, 0.1, 10)
    assert (config.sync.space, config.perceptual.network, config.trepa.network) == ("pixel", "vgg16", "videomae_v2")
