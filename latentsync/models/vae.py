"""The autoencoder between pixels and latents: diffusers' AutoencoderKL with its scaling, in bounded batches."""

from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from latentsync.errors import CheckpointError


class LatentCodec:
    """Turns images in [-1, 1] into latents of about unit size, and back."""

    def __init__(self, vae: AutoencoderKL):
        self.vae = vae
        self.scale = float(vae.config["scaling_factor"])
        self.shift = float(vae.config.get("shift_factor") or 0.0)
        self.latent_channels = int(vae.config["latent_channels"])
        self.factor = 2 ** (len(vae.config["block_out_channels"]) - 1)

    def encode(
        self, images: torch.Tensor, batch_size: int = 8, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Images to latents, (distribution - shift) x scale.

        Args:
            images: (n, 3, h, w) in [-1, 1]; h and w multiples of `factor`.
            batch_size: images encoded at a time.
            generator: a CPU generator to draw from the distribution with; None takes its mean, the same every time.

        Returns:
            (n, latent_channels, h / factor, w / factor) in the VAE's dtype.
        """
        parts = []
        for chunk in images.split(batch_size):
            distribution = self.vae.encode(chunk.to(self.vae.device, self.vae.dtype), return_dict=False)[0]
            latents = distribution.mean
            if generator is not None:
                noise = torch.randn(latents.shape, generator=generator).to(latents)
                latents = latents + distribution.std * noise
            parts.append((latents - self.shift) * self.scale)
        return torch.cat(parts)

    def decode(self, latents: torch.Tensor, batch_size: int = 8) -> torch.Tensor:
        """Latents (n, latent_channels, h, w) to images (n, 3, h factor, w factor), about [-1, 1], not clamped."""
        parts = []
        for chunk in latents.split(batch_size):
            chunk = chunk.to(self.vae.device, self.vae.dtype) / self.scale + self.shift
            parts.append(self.vae.decode(cast(torch.FloatTensor, chunk), return_dict=False)[0])
        return torch.cat(parts)


def load_vae(path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> LatentCodec:
    """Loads an AutoencoderKL from this machine; nothing is downloaded.

    Args:
        path: a diffusers folder (config.json and safetensors), or a hub name such as stabilityai/sd-vae-ft-mse that
            setup_env.sh has fetched into the hub's cache.
        device: where the network goes.
        dtype: format of its weights.

    Raises:
        CheckpointError: it is not on this machine, or is damaged or incomplete.
    """
    folder = _local_folder(path)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"VAE folder {folder} has no config.json: give a diffusers AutoencoderKL folder")
    try:
        loaded: Any = AutoencoderKL.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, torch_dtype=dtype, output_loading_info=True
        )
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"VAE in {folder} is incomplete or damaged: download it again") from error
    vae, report = loaded
    faults = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if faults:
        raise CheckpointError(f"VAE in {folder} does not fit its config.json ({faults[0]}): download it again")
    vae = vae.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return LatentCodec(vae)


def _local_folder(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    missing = CheckpointError(f"VAE {path} is not on this machine: run setup_env.sh, or name a diffusers VAE folder")
    if folder.exists() or folder.is_absolute():
        raise missing
    try:
        return Path(snapshot_download(str(path), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise missing from error
