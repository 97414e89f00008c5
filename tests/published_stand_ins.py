"""Tiny weights in the formats of the published files, by repository and name, and the configuration that fits them."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions, save_whisper_encoder
from latentsync.models.checkpoint import save_checkpoint
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig

_MODEL: dict[str, Any] = {
    "cross_attention_dim": 16,
    "block_out_channels": [8, 8, 16, 16],
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "layers_per_block": 1,
}


def shrink_configs(repository: Path) -> None:
    """Set the sizes of the U-Net in the base of `configs/unet` to tiny values."""
    path = repository / "configs" / "unet" / "stage1.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"].update(_MODEL)
    path.write_text(yaml.safe_dump(content))


def published_repositories() -> dict[str, dict[str, bytes]]:
    """Return the files that inference downloads, by repository; the U-Nets of the releases differ in values only."""
    with TemporaryDirectory() as folder:
        whisper = _whisper(Path(folder))
        vae = _vae(Path(folder))
        unets = {version: _unet(Path(folder), seed) for seed, version in enumerate(("1.5", "1.6"))}
    face = {"auxiliary/s3fd-619a316812.pth": _s3fd(), "auxiliary/2DFAN4-cd938726ad.zip": _landmark_network()}
    return {
        "ByteDance/LatentSync-1.6": {"latentsync_unet.pt": unets["1.6"], "whisper/tiny.pt": whisper},
        "ByteDance/LatentSync-1.5": {"latentsync_unet.pt": unets["1.5"], "whisper/tiny.pt": whisper, **face},
        "stabilityai/sd-vae-ft-mse": vae,
    }


def _unet(folder: Path, seed: int) -> bytes:
    torch.manual_seed(seed)
    unet = UNet3DConditionModel.from_unet_config(UNetConfig(**_MODEL, use_motion_module=True))
    save_checkpoint(folder / "unet.pt", unet.state_dict(), global_step=1)
    return (folder / "unet.pt").read_bytes()


def _whisper(folder: Path) -> bytes:
    save_whisper_encoder(folder / "whisper.pt", WhisperEncoder(encoder_dimensions(16, 1, 2)))
    return (folder / "whisper.pt").read_bytes()


def _vae(folder: Path) -> dict[str, bytes]:
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    )
    vae.save_pretrained(folder / "vae")
    return {path.name: path.read_bytes() for path in (folder / "vae").iterdir()}


def _s3fd() -> bytes:
    """Return a state dict with the names and shapes of S3FD; every tensor stores one zero."""
    from face_alignment.detection.sfd.net_s3fd import s3fd

    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in s3fd().state_dict().items()}
    file = io.BytesIO()
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, file)
    return file.getvalue()


def _landmark_network() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 68, 1), torch.zeros(1, 3, 4, 4)), file)
    return file.getvalue()
