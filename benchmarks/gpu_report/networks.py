"""Networks of the report with random weights."""

from typing import cast

import lpips
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from benchmarks.gpu_report.section import Setup, Sizes
from benchmarks.random_weights import convert, random_network
from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.config import load_config
from latentsync.judges.perceptual_distance import VggLpips
from latentsync.judges.videomae import VideoFeatures, VideoMaeSize
from latentsync.models.stable_syncnet import StableSyncNet
from latentsync.models.syncnet_input import SyncNetInput, read_syncnet_config
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.models.vae import LatentCodec
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import REPOSITORY_ROOT

CPU = torch.device("cpu")
MEL_BANDS, MEL_COLUMNS = 80, 52
NUM_FRAMES = 16
"""Frames of a window."""


def unet_run(sizes: Sizes, name: str, resolution: int | None = None, changes: tuple[str, ...] = ()) -> UNetRun:
    """Load a published configuration, `configs/unet/<name>.yaml`, with the report's sizes."""
    overrides = [*sizes.overrides, *changes]
    if resolution is not None:
        overrides.append(f"data.resolution={resolution}")
    return load_config(REPOSITORY_ROOT / "configs" / "unet" / f"{name}.yaml", UNetRun, overrides)


def random_unet(config: UNetConfig, device: torch.device, dtype: torch.dtype = torch.float32) -> UNet3DConditionModel:
    """Build a U-Net with the memory layout of `load_unet`."""
    unet = random_network(lambda: UNet3DConditionModel.from_unet_config(config), device)
    convert(unet, dtype)
    return unet


def random_vae(sizes: Sizes, device: torch.device, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """Build a frozen VAE with the memory layout of `load_vae`."""
    vae = random_network(lambda: cast(AutoencoderKL, AutoencoderKL.from_config(dict(sizes.weights.vae))), device)
    convert(vae, dtype)
    return vae.requires_grad_(False)


def random_codec(setup: Setup, dtype: torch.dtype) -> LatentCodec:
    """Build the frozen VAE with its latent scaling on the report's device."""
    return LatentCodec(random_vae(setup.sizes, setup.device, dtype))


def random_whisper(sizes: Sizes) -> WhisperEncoder:
    """Build the audio encoder on the CPU."""
    dims = sizes.weights.whisper
    shape = encoder_dimensions(dims["n_audio_state"], dims["n_audio_layer"], dims["n_audio_head"])
    return random_network(lambda: WhisperEncoder(shape)).requires_grad_(False)


def random_syncnet(sizes: Sizes, device: torch.device = CPU) -> tuple[StableSyncNet, SyncNetInput]:
    """Build the SyncNet of a configuration; return it with its input specification."""
    config, syncnet_input = read_syncnet_config(REPOSITORY_ROOT / sizes.syncnet)
    return random_network(lambda: StableSyncNet(config), device).requires_grad_(False), syncnet_input


def random_videomae(sizes: Sizes, device: torch.device = CPU) -> VideoFeatures:
    """Build TREPA's network."""
    size = VideoMaeSize(**sizes.videomae)
    network = random_network(lambda: VideoFeatures(size), device)
    embeddings = network.encoder.embeddings
    embeddings.position_embeddings = get_sinusoid_encoding_table(embeddings.num_patches, size.width)
    return network.requires_grad_(False)


def random_lpips(device: torch.device = CPU) -> VggLpips:
    """Build LPIPS on a VGG-16 with the input scaling of the package."""
    network = random_network(VggLpips, device)
    network.network.scaling_layer.load_state_dict(lpips.ScalingLayer().state_dict())
    return network.requires_grad_(False)


def audio_tokens(sizes: Sizes, num_windows: int, seed: int = 0) -> torch.Tensor:
    """Return random tokens (b, 16, 10 (layers + 1), width) on the CPU."""
    dims = sizes.weights.whisper
    shape = (num_windows, NUM_FRAMES, 10 * (dims["n_audio_layer"] + 1), dims["n_audio_state"])
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
