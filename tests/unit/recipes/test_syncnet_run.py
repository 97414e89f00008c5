from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.models.vae import LatentCodec
from latentsync.recipes.syncnet_run import SyncNetRun, check_syncnet_shapes
from latentsync.recipes.train_syncnet import meta_syncnet
from latentsync.weights import REPOSITORY_ROOT

CONFIG_FOLDER = REPOSITORY_ROOT / "configs"
CONFIGS = sorted([*CONFIG_FOLDER.glob("syncnet/*.yaml"), *CONFIG_FOLDER.glob("demo/syncnet*.yaml")])
PIXEL = REPOSITORY_ROOT / "configs/syncnet/syncnet_16_pixel.yaml"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_of_the_repository_fits(config: Path):
    check_syncnet_shapes(load_config(config, SyncNetRun))


def test_the_checked_length_is_what_the_network_gives():
    run = load_config(REPOSITORY_ROOT / "configs/demo/syncnet.yaml", SyncNetRun)
    pictures, sound = meta_syncnet(run)(torch.zeros(2, 48, 32, 64), torch.zeros(2, 1, 80, 52))
    assert pictures.shape == sound.shape == (2, 144)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.num_frames=10"], r"in_channels is 48, but 10 frames of 3 channels make 30"),
        (["data.num_frames=10", "model.visual_encoder.in_channels=30"], r"num_mel_columns is 52, .* 32\.0 columns"),
        (["data.resolution=512"], r"48x256x512 end in 8192 numbers and a mel 1x80x52 in 2048"),
        (["data.lower_half=false"], r"48x256x256 end in 4096 numbers"),
    ],
)
def test_parts_that_do_not_fit_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        check_syncnet_shapes(load_config(PIXEL, SyncNetRun, overrides))


def test_latents_of_another_autoencoder_are_refused():
    run = load_config(REPOSITORY_ROOT / "configs/syncnet/syncnet_16_latent.yaml", SyncNetRun)
    check_syncnet_shapes(run, codec(latent_channels=4, num_levels=4))
    with pytest.raises(ConfigError, match=r"16 frames of 8 channels make 128"):
        check_syncnet_shapes(run, codec(latent_channels=8, num_levels=4))
    with pytest.raises(ConfigError, match=r"64x64x64 end in 4096 numbers"):
        check_syncnet_shapes(run, codec(latent_channels=4, num_levels=3))


def codec(latent_channels: int, num_levels: int) -> LatentCodec:
    down, up = ("DownEncoderBlock2D",) * num_levels, ("UpDecoderBlock2D",) * num_levels
    sizes = {"block_out_channels": (4,) * num_levels, "down_block_types": down, "up_block_types": up}
    return LatentCodec(AutoencoderKL(**sizes, norm_num_groups=2, latent_channels=latent_channels))
