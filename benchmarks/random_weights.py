"""Networks with random weights, and files of random weights in the published formats and sizes (or tiny, for tests)."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from omegaconf import OmegaConf
from torch import nn
from whisper.model import ModelDimensions, Whisper

from benchmarks.weight_sizes import PUBLISHED, WeightSizes
from latentsync.models.checkpoint import save_checkpoint
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.weights import REPOSITORY_ROOT, UNET, VERSIONS, WHISPER_TINY

M = TypeVar("M", bound=nn.Module)


def random_network(build: Callable[[], M], device: torch.device | str = "cpu", seed: int = 0) -> M:
    """Return a network in eval mode with weights from `fill_random`, which is faster than the networks' initializers.

    Args:
        build: builds the network; called on the meta device. Buffers outside the state dict remain undefined.
        device: device of the weights.
        seed: of the weights.
    """
    with torch.device("meta"):
        network = build()
    network.to_empty(device=device)
    return fill_random(network, seed).eval()


def convert(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights in place to a dtype and channels-last layout, as `load_unet` and `load_vae` do."""
    to = cast(Callable[..., nn.Module], nn.Module.to)  # torch's type hints lack this combination
    to(network, dtype=dtype, memory_format=torch.channels_last)


@torch.no_grad()
def fill_random(network: M, seed: int = 0) -> M:
    """Overwrite a state dict so that activations keep about unit size, and return the network.

    Tensors of several dimensions are normal with variance 1 / fan-in; scales and variances are 1, all others 0.
    """
    generators: dict[torch.device, torch.Generator] = {}
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim > 1:
            if tensor.device not in generators:
                generators[tensor.device] = torch.Generator(tensor.device).manual_seed(seed)
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generators[tensor.device])
        else:
            is_scale = tensor.is_floating_point() and name.endswith(("weight", "running_var"))
            tensor.fill_(1 if is_scale else 0)
    return network


def write_weights(folder: Path, sizes: WeightSizes = PUBLISHED) -> None:
    """Write `latentsync_unet.pt`, `whisper/tiny.pt` and `vae/` into a folder: 5.5 GB at the published sizes.

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
    """Write the published configuration of a resolution (256 or 512) that names the weights of `write_weights`."""
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
    """Write encoder and decoder in openai-whisper's own format, in float16 as published."""
    network = fill_random(Whisper(dimensions)).half()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": asdict(dimensions), "model_state_dict": network.state_dict()}, path)
