"""The networks that generate the mouth, each step on its own: encode crops, denoise windows, decode latents."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.audio.whisper_features import FeatureRows, frame_tokens
from latentsync.device import describe_device
from latentsync.device_memory import naming_memory_errors
from latentsync.diffusion.noise import window_noise
from latentsync.diffusion.sampler import build_scheduler, denoise
from latentsync.errors import ConfigError, NonFiniteError
from latentsync.face.mask import keep_mask, latent_mask
from latentsync.face.paste import match_colour
from latentsync.models.cpu_inference import plain_layers
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.options import LipsyncOptions


@dataclass(frozen=True)
class WeightFiles:
    """Files that the networks of a pipeline were loaded from, for error messages; None if unknown."""

    unet: Path | None = None
    vae: Path | None = None
    audio_encoder: Path | None = None


class WindowSynthesizer:
    """U-Net and VAE on one device, which generate the masked part of windows.

    Args:
        unet: denoising network.
        codec: VAE.
        resolution: side of the crops in pixels.
        files: weight files of the networks, for error messages.

    Raises:
        ConfigError: the channels of the U-Net do not match the latents of the VAE.
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
        self.device, self.dtype = unet.device, unet.dtype  # properties that take milliseconds
        self._keep = keep_mask(resolution).to(self.device)
        self._latent_keep = latent_mask(resolution, resolution // codec.factor).to(self.device, self.dtype)

    @torch.inference_mode()
    def encode(self, crops: Tensor, start: int, options: LipsyncOptions, references: Tensor | None = None) -> Tensor:
        """Encode crops to the constant channels of the U-Net: mask, masked-image latents and reference latents.

        By default the reference image is the unmasked crop itself. With `exact` the latents are sampled, otherwise
        they are means.

        Args:
            crops: (n, 3, R, R) in [-1, 1].
            start: index of the first crop in the result, which seeds the sampling.
            options: VAE batch size, exact and seed.
            references: (n, 3, R, R) in [-1, 1]: other reference images, or None.

        Returns:
            (n, 1 + 2 L, h, w) in the U-Net's dtype.

        Raises:
            NonFiniteError: the VAE returned NaN or infinity.
            DeviceMemoryError: the device is out of memory.
        """
        crops = crops.to(self.device, torch.float32)
        references = crops if references is None else references.to(self.device, torch.float32)
        # Means are deterministic; on the demo, decoded samples and decoded means differ by 0.24 of 255 levels.
        noise = _vae_noise(start, options) if options.exact else None
        masked, reference = (
            self.codec.encode(images, options.vae_batch_size, generator=noise).to(self.dtype)
            for images in (crops * self._keep, references)
        )
        channels = torch.cat((self._latent_keep.expand(len(crops), 1, -1, -1), masked, reference), dim=1)
        check_finite(channels, "the VAE's latents of the video", self.codec.dtype, self.files.vae)
        return channels

    @torch.inference_mode()
    def denoise(
        self,
        conditioning: Tensor,
        starts: Sequence[int],
        features: FeatureRows,
        fps: Fraction,
        options: LipsyncOptions,
        progress: Callable[[float], None],
    ) -> Tensor:
        """Generate the latents of windows of equal length.

        Args:
            conditioning: (b, f, 1 + 2 L, h, w) from `encode`.
            starts: index of the first frame of each window in the result, which selects the audio.
            features: Whisper feature rows of the whole driving audio.
            fps: frames per second of the result.
            options: steps and their spacing, guidance, seed, scheduler and DeepCache.
            progress: receives the fraction of the work done, from 0 to 1; may raise to stop.

        Returns:
            (b, f, L, h, w) float32.

        Raises:
            NonFiniteError: a network returned NaN or infinity.
            DeviceMemoryError: the device is out of memory.
        """
        num_windows, num_frames, _, height, width = conditioning.shape
        audio = torch.stack([frame_tokens(features, range(start, start + num_frames), fps) for start in starts])
        audio = audio.to(self.device, self.dtype)
        check_finite(audio, "the audio features", self.dtype, self.files.audio_encoder)
        # As published, all frames and windows share one noise draw.
        noise = window_noise(options.seed, 0, (1, self.codec.latent_channels, num_frames, height, width))
        layers = plain_layers() if options.exact else nullcontext()
        with naming_memory_errors("the U-Net", self.device), layers:
            latents = denoise(
                self.unet,
                build_scheduler(options.scheduler, options.timestep_spacing),
                noise.to(self.device).expand(num_windows, -1, -1, -1, -1),
                conditioning.transpose(1, 2),
                audio,
                num_steps=options.num_inference_steps,
                guidance_scale=options.guidance_scale,
                guidance_interval=options.guidance_interval,
                deepcache_interval=options.deepcache_interval,
                progress=lambda step: progress(step / options.num_inference_steps),
            )
        check_finite(latents, "the U-Net's latents", self.dtype, self.files.unet)
        return latents.transpose(1, 2)

    @torch.inference_mode()
    def decode(self, latents: Tensor, crops: Tensor, options: LipsyncOptions) -> Tensor:
        """Decode latents to generated crops.

        By default they are matched in colour to the source crops. With `exact` the kept pixels are copied from the
        source crops and colours are not matched, as in the published system.

        Args:
            latents: (n, L, h, w).
            crops: (n, 3, R, R) source crops of the same frames, in [-1, 1].
            options: VAE batch size and exact.

        Returns:
            (n, 3, R, R) float32 in [-1, 1].

        Raises:
            NonFiniteError: the VAE returned NaN or infinity.
            DeviceMemoryError: the device is out of memory.
        """
        crops = crops.to(self.device, torch.float32)
        images = self.codec.decode(latents, options.vae_batch_size).float()
        check_finite(images, "the VAE's decoded images", self.codec.dtype, self.files.vae)
        images = images.clamp(-1, 1)
        if options.exact:
            return torch.where(self._keep > 0, crops, images)
        # A small VAE shifts colours: with the demo VAE the step at the mask border is 0.63 of 255 levels before
        # matching and 0.02 after.
        return match_colour(images, crops)


def check_finite(values: Tensor, what: str, dtype: torch.dtype, weights: Path | None = None) -> None:
    """Check the output of a network, since NaN would end as black mouths without an error.

    Args:
        values: of any shape.
        what: name of the values for the message, in the plural.
        dtype: dtype of the network.
        weights: weight file of the network.

    Raises:
        NonFiniteError: a value is NaN or infinite.
    """
    if bool(values.isfinite().all()):
        return
    if dtype == torch.float32:
        file = "" if weights is None else f" {weights}"
        remedy = f"the weights{file} or the input may be damaged; download the weights again, or try another input"
    else:
        remedy = "run it again with --dtype float32"
    name = str(dtype).removeprefix("torch.")
    raise NonFiniteError(
        f"{what} are not finite (NaN or infinity), in {name} on {describe_device(values.device)}: {remedy}"
    )


def _vae_noise(start: int, options: LipsyncOptions) -> torch.Generator:
    """Return the CPU generator of one window's sampled latents, seeded by the seed and the position."""
    seed = np.random.SeedSequence([options.seed, 1, start]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(seed))
