"""The VAE between pixels and latents: diffusers' AutoencoderKL or AutoencoderTiny, in bounded batches.

AutoencoderTiny is trained on the scaled latents of a full VAE: its own scaling factor is 1 and its shift 0.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn

from latentsync.device_memory import naming_memory_errors, run_in_batches
from latentsync.errors import CheckpointError
from latentsync.models.batch_size import BATCH_SIZE
from latentsync.storage.weight_file import check_fit, plain_tensors, read_safetensors

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
DECODER_WEIGHTS = ("decoder.", "post_quant_conv.")
"""Prefixes of the weights that turn latents into images; those of the latents stay when they are replaced."""


class LatentCodec:
    """Encodes images in [-1, 1] to latents of about unit variance, and decodes latents.

    If the device runs out of memory without gradients, the batch is halved until it fits, with one warning; later calls
    start with that size.

    Attributes:
        latent_channels: channels L of the latents.
        factor: downsampling factor of height and width.
    """

    def __init__(self, vae: "AutoencoderKL | AutoencoderTiny"):
        self.vae = vae
        self.scale = float(vae.config["scaling_factor"])
        self.shift = float(vae.config.get("shift_factor") or 0.0)
        self.latent_channels = int(vae.config["latent_channels"])
        self.factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
        self._largest_batch: int | None = None

    @property
    def device(self) -> torch.device:
        """Device of the VAE. Its own property searches all modules for hooks, which takes over a millisecond."""
        return next(self.vae.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the VAE, see `device`."""
        return next(self.vae.parameters()).dtype

    def encode(
        self, images: torch.Tensor, batch_size: int = BATCH_SIZE, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Encode images to latents, (distribution - shift) * scale.

        Args:
            images: (n, 3, h, w) in [-1, 1]; h and w multiples of `factor`.
            batch_size: images per batch.
            generator: CPU generator to sample from the distribution; None takes its mean. An AutoencoderTiny has none:
                its latents do not depend on the generator.

        Returns:
            (n, latent_channels, h / factor, w / factor) in the VAE's dtype.

        Raises:
            DeviceMemoryError: too little memory for one image.
        """
        noise = None if generator is None else self._draw_noise(images, generator)

        def compute(items: slice) -> torch.Tensor:
            chunk = images[items].to(self.device, self.dtype)
            encoded: Any = self.vae.encode(chunk, return_dict=False)[0]
            if isinstance(encoded, torch.Tensor):  # of an AutoencoderTiny
                return (encoded - self.shift) * self.scale
            latents = encoded.mean
            if noise is not None:
                latents = latents + encoded.std * noise[items].to(latents)
            return (latents - self.shift) * self.scale

        return self._in_batches(compute, images, batch_size)

    def decode(self, latents: torch.Tensor, batch_size: int = BATCH_SIZE) -> torch.Tensor:
        """Decode latents (n, latent_channels, h, w) to images (n, 3, h factor, w factor), about [-1, 1], not clamped.

        Raises:
            DeviceMemoryError: too little memory for one image.
        """

        def compute(items: slice) -> torch.Tensor:
            chunk = latents[items].to(self.device, self.dtype) / self.scale + self.shift
            return self.vae.decode(cast(torch.FloatTensor, chunk), return_dict=False)[0]

        return self._in_batches(compute, latents, batch_size)

    def _draw_noise(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw the noise of all latents, image by image, so that it does not depend on the batch size."""
        shape = (self.latent_channels, images.shape[-2] // self.factor, images.shape[-1] // self.factor)
        return torch.stack([torch.randn(shape, generator=generator) for _ in images])

    def _in_batches(
        self, compute: Callable[[slice], torch.Tensor], inputs: torch.Tensor, batch_size: int
    ) -> torch.Tensor:
        requested = batch_size if self._largest_batch is None else min(batch_size, self._largest_batch)
        # With gradients a smaller batch saves no memory: activations of all batches are kept for the backward pass.
        retry = not (torch.is_grad_enabled() and inputs.requires_grad)
        with naming_memory_errors("the VAE", self.device):
            results, fitting = run_in_batches(compute, len(inputs), requested, self.device, retry)
        if fitting < requested:
            self._largest_batch = fitting
            logger.warning(
                "the VAE ran out of memory on %s with %d images per batch: it uses %d per batch from now on",
                *(self.device, min(requested, len(inputs)), fitting),
            )
        return results


@dataclass(frozen=True)
class VaeShape:
    """Latent channels of a VAE, and its downsampling factor of height and width."""

    latent_channels: int
    factor: int


def read_vae_shape(folder: Path) -> VaeShape:
    """Read the latent shape of the VAE in a diffusers folder from its configuration; its weights are not read.

    Raises:
        CheckpointError: the configuration is damaged, or the weights are missing.
    """
    if not (folder / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"VAE in {folder} is incomplete or damaged: download it again")
    try:
        config = _read_config(folder)
        channels = config.get("decoder_block_out_channels") or config["block_out_channels"]  # AutoencoderTiny or KL
        return VaeShape(int(config["latent_channels"]), 2 ** (len(channels) - 1))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"VAE in {folder} is incomplete or damaged: download it again") from error


def load_vae(
    path: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    decoder: Path | None = None,
) -> LatentCodec:
    """Load an AutoencoderKL or AutoencoderTiny with frozen parameters from local files; nothing is downloaded.

    `_class_name` in config.json tells which, as in all diffusers folders.

    Args:
        path: a diffusers folder (config.json and safetensors), or a hub name such as stabilityai/sd-vae-ft-mse that
            setup_env.sh has downloaded into the hub's cache.
        device: device of the network.
        dtype: dtype of its parameters.
        decoder: safetensors with other weights of its decoder (`DECODER_WEIGHTS`).

    Raises:
        CheckpointError: the VAE is not on this machine, damaged or incomplete, or the decoder's weights do not fit it.
    """
    folder = _local_folder(path)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"VAE folder {folder} has no config.json: give a diffusers AutoencoderKL folder")
    try:
        loaded: Any = _vae_class(folder).from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, torch_dtype=dtype, output_loading_info=True
        )
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise CheckpointError(f"VAE in {folder} is incomplete or damaged: download it again") from error
    vae, report = loaded
    faults = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if faults:
        raise CheckpointError(f"VAE in {folder} does not fit its config.json ({faults[0]}): download it again")
    plain_tensors(vae.state_dict(), folder / WEIGHTS_FILE)
    if decoder is not None:
        _replace_decoder(vae, decoder)
    vae = vae.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)
    return LatentCodec(vae)


def _replace_decoder(vae: nn.Module, path: Path) -> None:
    weights = read_safetensors(path)
    expected = {name: value for name, value in vae.state_dict().items() if name.startswith(DECODER_WEIGHTS)}
    check_fit(expected, weights, path, "it belongs to another VAE")
    vae.load_state_dict(weights, strict=False)


def _read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))


def _vae_class(folder: Path) -> "type[AutoencoderKL | AutoencoderTiny]":
    """Return the class that config.json names; AutoencoderKL if it names none. The import is slow."""
    if _read_config(folder).get("_class_name") == "AutoencoderTiny":
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

        return AutoencoderTiny
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL


def _local_folder(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    missing = CheckpointError(f"VAE {path} is not on this machine: run setup_env.sh, or give a diffusers VAE folder")
    if folder.exists() or folder.is_absolute():
        raise missing
    try:
        return Path(snapshot_download(str(path), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise missing from error
