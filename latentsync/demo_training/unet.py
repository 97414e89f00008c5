"""The demo U-Net: the published network at a few million parameters, trained on the demo VAE's latents.

Epsilon MSE with mixed noise and audio dropout; short windows first, then full ones. `configs/demo/unet.yaml` says what
it is made of; `vae/` and `whisper.pt` must lie in the output folder.
"""

import logging

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.config import load_config
from latentsync.demo_training.clip_set import find_clips
from latentsync.demo_training.latent_clips import LatentClip, encoders_fingerprint, latent_clips
from latentsync.demo_training.loop import TrainOptions, train
from latentsync.demo_training.optimizer import WeightAverage, build_optimizers
from latentsync.demo_training.vae import RESOLUTION
from latentsync.diffusion.noise import mixed_noise
from latentsync.diffusion.scheduler import NUM_TRAIN_TIMESTEPS, build_scheduler
from latentsync.face.mask import latent_mask
from latentsync.models.checkpoint import load_unet, save_checkpoint
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.unet_config import UNetConfig
from latentsync.models.vae import load_vae
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import REPOSITORY_ROOT

logger = logging.getLogger(__name__)

CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "unet.yaml"
_SHORT, _FULL = (16, 6), (6, 16)
_FULL_WINDOWS_FROM = 0.5
_FRAMES_PER_CLIP = 56
_AUDIO_DROPOUT = 0.1
_SHARED_NOISE = (1.0, 10.0)
_LATE_TIMESTEPS = 0.5


def build_unet(config: UNetConfig) -> UNet3DConditionModel:
    """Untrained U-Net whose input convolution is not zero: with both ends zero nothing would learn."""
    unet = UNet3DConditionModel.from_unet_config(config)
    unet.conv_in.reset_parameters()
    return unet


class WindowBatches:
    """Random windows of clips with reference frames from elsewhere in the same clip."""

    def __init__(self, clips: list[LatentClip], seed: int):
        self.clips = clips
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        size = clips[0].clean.shape[-1]
        self.keep = latent_mask(RESOLUTION, size)
        self.scheduler = build_scheduler("ddim")

    def next(self, num_windows: int, num_frames: int) -> dict[str, torch.Tensor]:
        """Network inputs `sample`, `timestep`, `audio` and the `noise` to be predicted, all float32 (b, c, f, h, w)."""
        windows = [self._window(num_frames) for _ in range(num_windows)]
        clean, masked, reference, audio = (torch.from_numpy(np.stack(part)) for part in zip(*windows, strict=True))
        clean, masked, reference = (part.float().transpose(1, 2) for part in (clean, masked, reference))
        silent = torch.rand(num_windows, generator=self.generator) < _AUDIO_DROPOUT
        audio[silent] = 0
        half = num_windows // 2
        parts = zip((half, num_windows - half), _SHARED_NOISE, strict=True)
        noise = torch.cat(
            [mixed_noise((n, *clean.shape[1:]), [self.generator] * n, weight) for n, weight in parts if n > 0]
        )
        share = torch.rand(num_windows, generator=self.generator) ** _LATE_TIMESTEPS
        timestep = (share * NUM_TRAIN_TIMESTEPS).long()
        noisy = self.scheduler.add_noise(clean, noise, timestep)
        keep = self.keep.expand(num_windows, 1, num_frames, -1, -1)
        sample = torch.cat([noisy, keep, masked, reference], dim=1)
        return {"sample": sample, "timestep": timestep, "audio": audio, "noise": noise}

    def _window(self, num_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Clean, masked and reference latents (f, L, h, w) and tokens of one window."""
        clip = self.clips[self.rng.integers(len(self.clips))]
        last = len(clip.clean) - num_frames
        start = int(self.rng.integers(last + 1))
        free = [other for other in range(last + 1) if abs(other - start) >= num_frames]
        other = int(self.rng.choice(free))
        stop = start + num_frames
        reference = clip.clean[other : other + num_frames]
        return clip.clean[start:stop], clip.masked[start:stop], reference, clip.tokens(start, stop)


def cell_weights(latent_size: int) -> torch.Tensor:
    """Loss weights (h, w) of mean 1: most in the mouth, full in the generated region, little where pixels are kept."""
    y, x = torch.meshgrid(torch.linspace(0, 1, latent_size), torch.linspace(0, 1, latent_size), indexing="ij")
    mouth = torch.exp(-(((x - 0.5) / 0.2) ** 2 + ((y - 0.68) / 0.16) ** 2))
    weights = 0.3 + (1 - latent_mask(RESOLUTION, latent_size)) * (1 + 4 * mouth)
    return weights / weights.mean()


def train_unet(options: TrainOptions) -> None:
    """Trains on the clips below `options.data` and writes `<out>/latentsync_unet.pt` (fp16)."""
    torch.manual_seed(options.seed)
    config = load_config(CONFIG, UNetRun).model
    codec = load_vae(options.out / "vae", options.device, torch.bfloat16)
    encoder = load_whisper_encoder(options.out / "whisper.pt", options.device)
    cache = options.out / "latents" / f"{encoders_fingerprint(codec, encoder)}-{_FRAMES_PER_CLIP}"
    clips = latent_clips(find_clips(options.data), _FRAMES_PER_CLIP, codec, encoder, cache)
    batches = WindowBatches(clips, options.seed)
    unet = build_unet(config) if options.initial is None else load_unet(config, options.initial)
    nn.Module.to(unet, options.device)
    average = WeightAverage(unet, 0.998)
    weights = cell_weights(batches.keep.shape[-1]).to(options.device)

    def step(fraction: float) -> tuple[torch.Tensor, dict[str, float]]:
        batch = batches.next(*(_SHORT if fraction < _FULL_WINDOWS_FROM else _FULL))
        batch = {name: tensor.to(options.device) for name, tensor in batch.items()}
        # on a CPU the plain attention trains 1.3x faster than the fused one: the sequences are short
        with torch.autocast(options.device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            predicted = unet(batch["sample"], batch["timestep"], batch["audio"])
        squared = (predicted.float() - batch["noise"]).square() * weights
        late = squared.detach()[batch["timestep"] > NUM_TRAIN_TIMESTEPS // 2]
        return squared.mean(), {"late_loss": float(late.mean())} if len(late) else {}

    def save(index: int) -> None:
        extra = {"config": {"resolution": RESOLUTION}}
        save_checkpoint(options.out / "latentsync_unet.pt", average.state, index, extra, torch.float16)

    optimizers = build_optimizers(unet, lr=2e-3, matrix_lr=6e-3, plain_names=("conv_in", "conv_out"))
    train(options, unet, optimizers, step, save, average, name="unet")
