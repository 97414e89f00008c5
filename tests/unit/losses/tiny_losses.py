"""Tiny inputs of loss terms: codec, files of frozen networks, a U-Net and one window to overfit."""

from pathlib import Path

import torch
from omegaconf import OmegaConf

from latentsync.diffusion.noise import predict_x0
from latentsync.diffusion.sampler import build_scheduler
from latentsync.judges.videomae import VideoFeatures, VideoMaeSize, save_small_videomae
from latentsync.losses.loss_stack import Prediction
from latentsync.models.checkpoint import save_checkpoint
from latentsync.models.stable_syncnet import StableSyncNet, SyncEncoderConfig, SyncNetConfig
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from tests.golden_values import det, fill_deterministic
from tests.tiny_networks import tiny_vae

RESOLUTION, LATENT_SIZE, NUM_FRAMES, BATCH = 32, 8, 4, 2
SYNC_RESOLUTION = 16
VIDEOMAE_SIZE = VideoMaeSize(
    image_size=16, patch_size=8, tubelet_size=2, num_frames=NUM_FRAMES, width=16, depth=1, num_heads=2, mlp_width=24
)


class CountingCodec(LatentCodec):
    """Counts the frames it decodes."""

    num_decoded = 0

    def decode(self, latents: torch.Tensor, batch_size: int = 8) -> torch.Tensor:
        self.num_decoded += len(latents)
        return super().decode(latents, batch_size)


def tiny_codec() -> CountingCodec:
    return CountingCodec(tiny_vae())


def syncnet_config(latent_space: bool) -> SyncNetConfig:
    """Takes the lower half of 16 px crops, or whole latents; both embeddings have 256 values."""
    audio = SyncEncoderConfig(1, [8, 16], [[4, 4], [5, 3]], norm_num_groups=4)
    if latent_space:
        return SyncNetConfig(audio, SyncEncoderConfig(4 * NUM_FRAMES, [16], [[2, 2]], norm_num_groups=4))
    return SyncNetConfig(audio, SyncEncoderConfig(3 * NUM_FRAMES, [8, 16], [[1, 2], [2, 2]], norm_num_groups=4))


def write_syncnet(root: Path, latent_space: bool = False) -> tuple[str, str]:
    """Write a SyncNet's configuration and weights below `root`; return their relative paths."""
    config = syncnet_config(latent_space)
    content = {
        "model": OmegaConf.structured(config),
        "data": {
            "resolution": SYNC_RESOLUTION,
            "num_frames": NUM_FRAMES,
            "latent_space": latent_space,
            "lower_half": not latent_space,
            "train_clips": "clips",  # ignored by the losses
        },
        "trainer": {"max_steps": 3},
    }
    OmegaConf.save(OmegaConf.create(content), root / "syncnet.yaml")
    syncnet = fill_deterministic(StableSyncNet(config))
    save_checkpoint(root / "syncnet.pt", syncnet.state_dict(), 1)
    return "syncnet.yaml", "syncnet.pt"


def write_videomae(root: Path) -> str:
    features = fill_deterministic(VideoFeatures(VIDEOMAE_SIZE))
    save_small_videomae(root / "videomae.pt", VIDEOMAE_SIZE, features.state_dict())
    return "videomae.pt"


class Window:
    """One batch of windows with fixed noise and timesteps, for a U-Net to overfit."""

    def __init__(self, codec: LatentCodec):
        self.codec = codec
        shape = (BATCH, 4, NUM_FRAMES, LATENT_SIZE, LATENT_SIZE)
        self.clean, self.noise = det("window/clean", shape), det("window/noise", shape)
        self.timestep = torch.tensor([300, 600])
        self.audio = det("window/audio", (BATCH, NUM_FRAMES, 50, 16))
        self.mel = det("window/mel", (BATCH, 1, 80, 52))
        self.scheduler = build_scheduler("ddim")
        self.noisy = self.scheduler.add_noise(self.clean, self.noise, self.timestep)
        others = det("window/others", (BATCH, 9, NUM_FRAMES, LATENT_SIZE, LATENT_SIZE))
        self.sample = torch.cat([self.noisy, others], dim=1)
        with torch.no_grad():
            real = codec.decode(self.clean.transpose(1, 2).flatten(0, 1))
        self.pixels = real.unflatten(0, (BATCH, NUM_FRAMES))

    def predict(self, unet: UNet3DConditionModel, checkpoint_decode: bool = False) -> Prediction:
        return self.prediction(unet(self.sample, self.timestep, self.audio), checkpoint_decode)

    def prediction(self, predicted: torch.Tensor, checkpoint_decode: bool = False) -> Prediction:
        return Prediction(
            predicted_noise=predicted,
            noise=self.noise,
            timestep=self.timestep,
            clean_estimate=predict_x0(self.noisy, predicted, self.timestep, self.scheduler.alphas_cumprod),
            codec=self.codec,
            target_latents=self.clean,
            target_pixels=self.pixels,
            mel=self.mel,
            checkpoint_decode=checkpoint_decode,
        )
