"""Write random weights of the published sizes (or, for tests, of tiny sizes) in the published file formats."""

from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from omegaconf import OmegaConf
from whisper.model import ModelDimensions, Whisper

from benchmarks.random_weights import fill_random, random_network
from benchmarks.weight_sizes import PUBLISHED, WeightSizes
from latentsync.models.checkpoint import save_checkpoint
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.weights import REPOSITORY_ROOT, UNET, VERSIONS, WHISPER_TINY


def write_weights(folder: Path, sizes: WeightSizes = PUBLISHED) -> None:
    """Write `latentsync_unet.pt`, `whisper/tiny.pt` and `vae/` to a folder: 5.5 GB at the published sizes.

    The U-Net has the tensors of both releases (stage 2).
    """
    config = UNetConfig(use_motion_module=True, **sizes.unet)
    unet = random_network(lambda: UNet3DConditionModel.from_unet_config(config))
    save_checkpoint(folder / UNET, unet.state_dict(), global_step=0)
    del unet
    vae = random_network(lambda: cast(AutoencoderKL, AutoencoderKL.from_config(dict(sizes.vae))))
    vae.save_pretrained(folder / "vae")
    _write_whisper(folder / WHISPER_TINY, ModelDimensions(**sizes.whisper))


def write_config(folder: Path, resolution: int, sizes: WeightSizes = PUBLISHED) -> Path:
    """Write the published configuration for 256 or 512 px, with the weights of `write_weights` in `folder`."""
    published = next(version for version in VERSIONS.values() if version.resolution == resolution)
    path = folder / f"unet_{resolution}.yaml"
    content = {
        "base": str(REPOSITORY_ROOT / published.unet_config),
        "model": dict(sizes.unet),
        "vae": str(folder / "vae"),
        "audio": {"whisper": str(folder / WHISPER_TINY)},
    }
    OmegaConf.save(content, path)
    return path


def _write_whisper(path: Path, dimensions: ModelDimensions) -> None:
    """Write the format of openai-whisper, encoder and decoder, in float16 as published."""
    network = fill_random(Whisper(dimensions)).half()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": asdict(dimensions), "model_state_dict": network.state_dict()}, path)
