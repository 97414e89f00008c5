"""Stand-ins for the published weights: correct names and shapes in the published formats, a few kB each on disk.

Every tensor is one zero seen with strides of 0: `torch.save` stores the one number.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.config import load_config
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import REPOSITORY_ROOT

VAE_CONFIG = {
    "_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [128, 256, 512, 512],
}  # fmt: skip
EXISTENCE_ONLY = ("vgg16-397923af.pth", "vit_g_hybrid_pt_1200e_ssv2_ft.pth", "syncnet_v2.model")


def write_published_stand_ins(checkpoints: Path) -> None:
    """Write stand-ins for the weights that the published trainings read."""
    (checkpoints / "auxiliary").mkdir(parents=True)
    configs = REPOSITORY_ROOT / "configs"
    write_unet(checkpoints / "latentsync_unet.pt", load_config(configs / "unet/stage2.yaml", UNetRun).model)
    syncnet = load_config(configs / "syncnet/syncnet_16_pixel_attn.yaml", SyncNetRun)
    with torch.device("meta"):
        write_state(checkpoints / "stable_syncnet.pt", StableSyncNet(syncnet.model))
    write_whisper(checkpoints / "whisper" / "tiny.pt", width=384, num_layers=4, num_heads=6)
    write_vae(checkpoints / "vae")
    for name in EXISTENCE_ONLY:
        (checkpoints / "auxiliary" / name).write_bytes(b"a dry run only looks whether it is here")


def write_unet(path: Path, config: UNetConfig) -> None:
    """Write the weights of a U-Net."""
    with torch.device("meta"):
        write_state(path, UNet3DConditionModel.from_unet_config(config))


def write_state(path: Path, model: nn.Module) -> None:
    """Write the weights of a network, which may be on the meta device, in the published format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": 1, "state_dict": _zeros(model.state_dict().items())}, path)


def write_whisper(path: Path, width: int, num_layers: int, num_heads: int) -> None:
    """Write an audio encoder in the format of openai-whisper."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dims = encoder_dimensions(width, num_layers, num_heads)
    with torch.device("meta"):
        state = WhisperEncoder(dims).encoder.state_dict()
    weights = _zeros((f"encoder.{name}", tensor) for name, tensor in state.items())
    torch.save({"dims": vars(dims), "model_state_dict": weights}, path)


def write_vae(folder: Path) -> None:
    """Write the folder of an autoencoder with four latent channels and empty weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(VAE_CONFIG))
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"")


def _zeros(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape) for name, tensor in tensors}
