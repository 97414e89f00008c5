"""Repaints windows of aligned face crops: encode, denoise, decode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.frame_tokens import FeatureRows, frame_tokens
from latentsync.device_memory import naming_memory_errors
from latentsync.diffusion.noise import window_noise
from latentsync.diffusion.sampler import denoise
from latentsync.diffusion.scheduler import build_scheduler
from latentsync.errors import ConfigError
from latentsync.face.colour import match_colour
from latentsync.face.mask import keep_mask, latent_mask
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.finite import WeightFiles, check_finite
from latentsync.pipelines.options import LipsyncOptions


class Cancelled(Exception):
    """The run was stopped while a window was being painted."""


@dataclass
class Window:
    """Aligned crops that are painted together.

    Attributes:
        start: the first crop's frame in the result; it chooses the audio.
        crops: (f, 3, R, R) in [-1, 1].
    """

    start: int
    crops: Tensor


class WindowSynthesizer:
    """The U-Net and the codec, on one device.

    Raises:
        ConfigError: the U-Net's channels do not fit the codec's latents.
    """

    def __init__(
        self, unet: UNet3DConditionModel, codec: LatentCodec, resolution: int, files: WeightFiles | None = None
    ) -> None:
        channels = codec.latent_channels
        if unet.config["in_channels"] != 3 * channels + 1 or unet.config["out_channels"] != channels:
            raise ConfigError(
                f"a VAE with {channels} latent channels needs a U-Net of {3 * channels + 1} input and {channels} "
                f"output channels, not {unet.config['in_channels']} and {unet.config['out_channels']}: "
                "use a VAE and a U-Net that were trained together"
            )
        self.files = files or WeightFiles()
        self.unet = unet.eval()
        self.codec = codec
        self.device = unet.device
        self._keep = keep_mask(resolution).to(self.device)
        self._latent_keep = latent_mask(resolution, resolution // codec.factor).to(self.device, unet.dtype)

    @torch.inference_mode()
    def __call__(
        self,
        windows: Sequence[Window],
        features: FeatureRows,
        fps: Fraction,
        options: LipsyncOptions,
        progress: Callable[[float], None],
    ) -> list[Tensor]:
        """Paints windows of one length; each as (f, 3, R, R) float32 in [-1, 1].

        With `exact` the kept pixels are the crop's and no colour is matched, as in the published system.

        Args:
            windows: what to paint.
            features: Whisper rows of the whole speech.
            fps: frames per second of the result.
            options: steps, guidance, seed, scheduler, DeepCache, exact, images at once in the VAE.
            progress: told the share of the work done, from 0 to 1; may raise to stop.

        Raises:
            NonFiniteError: a network gave NaN or infinity.
            DeviceMemoryError: the device has too little memory.
        """
        crops = torch.stack([window.crops for window in windows]).to(self.device, torch.float32)
        constant = self._constant_channels(crops, options.vae_batch_size, _vae_noise(windows, options))
        audio = torch.stack([self._tokens(window, features, fps) for window in windows])
        check_finite(audio, "the audio features", self.unet.dtype, self.files.audio_encoder)
        num_windows, num_frames = crops.shape[:2]
        size = constant.shape[-1]
        noise = window_noise(options.seed, 0, (1, self.codec.latent_channels, num_frames, size, size))
        with naming_memory_errors("the U-Net", self.device):
            latents = denoise(
                self.unet,
                build_scheduler(options.scheduler),
                noise.to(self.device).expand(num_windows, -1, -1, -1, -1),
                constant,
                audio,
                num_steps=options.num_inference_steps,
                guidance_scale=options.guidance_scale,
                deepcache_interval=options.deepcache_interval,
                progress=lambda step: progress(step / options.num_inference_steps),
            )
        check_finite(latents, "the U-Net's latents", self.unet.dtype, self.files.unet)
        images = self.codec.decode(latents.transpose(1, 2).flatten(0, 1), options.vae_batch_size).float()
        check_finite(images, "the VAE's decoded images", self.codec.vae.dtype, self.files.vae)
        images = images.clamp(-1, 1)
        if options.exact:
            images = torch.where(self._keep > 0, crops.flatten(0, 1), images)
        else:
            images = match_colour(images, crops.flatten(0, 1))
        return list(images.unflatten(0, (num_windows, num_frames)))

    def _constant_channels(self, crops: Tensor, vae_batch_size: int, vae_noise: Sequence[torch.Generator]) -> Tensor:
        """Mask, masked-image and reference latents as (b, 1 + 2 L, f, h, w); the reference is the crop itself.

        Args:
            crops: (b, f, 3, R, R) in [-1, 1].
            vae_batch_size: images encoded at a time.
            vae_noise: a generator a window to draw its latents with; none takes the means.
        """
        num_windows, num_frames = crops.shape[:2]
        images = crops.flatten(0, 1)
        if vae_noise:
            pairs = [
                tuple(
                    self.codec.encode(part, vae_batch_size, generator=noise) for part in (window * self._keep, window)
                )
                for window, noise in zip(crops, vae_noise, strict=True)
            ]
            masked, reference = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        else:
            masked = self.codec.encode(images * self._keep, vae_batch_size)
            reference = self.codec.encode(images, vae_batch_size)
        mask = self._latent_keep.expand(len(images), 1, -1, -1)
        channels = torch.cat((mask, masked.to(mask.dtype), reference.to(mask.dtype)), dim=1)
        check_finite(channels, "the VAE's latents of the video", self.codec.vae.dtype, self.files.vae)
        return channels.unflatten(0, (num_windows, num_frames)).transpose(1, 2)

    def _tokens(self, window: Window, features: FeatureRows, fps: Fraction) -> Tensor:
        frames = range(window.start, window.start + len(window.crops))
        return frame_tokens(features, frames, fps).to(self.device, self.unet.dtype)


def _vae_noise(windows: Sequence[Window], options: LipsyncOptions) -> list[torch.Generator]:
    """With `exact` a CPU generator for each window, of the seed and the window's place; else none."""
    if not options.exact:
        return []
    seeds = (np.random.SeedSequence([options.seed, 1, window.start]).generate_state(1)[0] for window in windows)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]
