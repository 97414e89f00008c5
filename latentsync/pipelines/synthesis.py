"""Generate the mouth in windows of aligned face crops: encode, denoise, decode."""

from collections.abc import Callable, Iterator, Sequence
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
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.vae import LatentCodec
from latentsync.pipelines.options import LipsyncOptions


class Cancelled(Exception):
    """The job was stopped during the denoising loop."""


@dataclass(frozen=True)
class WeightFiles:
    """Files that the networks of a pipeline were loaded from, for error messages; None if unknown."""

    unet: Path | None = None
    vae: Path | None = None
    audio_encoder: Path | None = None


@dataclass
class Window:
    """Aligned crops that the U-Net processes together.

    Attributes:
        start: index of the first crop in the result, which selects the audio.
        crops: (f, 3, R, R) in [-1, 1].
    """

    start: int
    crops: Tensor


@dataclass(frozen=True)
class Chunk:
    """Frames that pass through the stages of the pipeline together: a window with the face, or a frame without it.

    Attributes:
        frames: source frames (h, w, 3) uint8 that no earlier chunk contains.
        window: aligned crops; None without the face.
        matrices: (n, 2, 3) from frame to crop, one for each frame.
        num_settled: number of leading crops of the window that no later window contains.
        generated: (f, 3, R, R) generated crops, once they exist.
    """

    frames: list[np.ndarray]
    window: Window | None = None
    matrices: np.ndarray | None = None
    num_settled: int = 0
    generated: Tensor | None = None


def batch_chunks(chunks: Iterator[Chunk], batch_windows: int) -> Iterator[list[Chunk]]:
    """Group up to `batch_windows` successive windows of equal length; a chunk without a window stays alone."""
    batch: list[Chunk] = []
    for chunk in chunks:
        if batch and not (len(batch) < batch_windows and _have_equal_lengths(batch[0].window, chunk.window)):
            yield batch
            batch = []
        batch.append(chunk)
    if batch:
        yield batch


def _have_equal_lengths(first: Window | None, second: Window | None) -> bool:
    return first is not None and second is not None and len(first.crops) == len(second.crops)


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
        """Generate windows of equal length; return each as (f, 3, R, R) float32 in [-1, 1].

        By default the generated crops are matched in colour to the source crops. With `exact` the kept pixels are
        copied from the crop and colours are not matched, as in the published system.

        Args:
            windows: windows to generate.
            features: Whisper feature rows of the whole driving audio.
            fps: frames per second of the result.
            options: steps, guidance, seed, scheduler, DeepCache, exact and the VAE batch size.
            progress: receives the fraction of the work done, from 0 to 1; may raise to stop.

        Raises:
            NonFiniteError: a network returned NaN or infinity.
            DeviceMemoryError: the device is out of memory.
        """
        crops = torch.stack([window.crops for window in windows]).to(self.device, torch.float32)
        constant = self._constant_channels(crops, options.vae_batch_size, _vae_noise(windows, options))
        audio = torch.stack([self._tokens(window, features, fps) for window in windows])
        check_finite(audio, "the audio features", self.unet.dtype, self.files.audio_encoder)
        num_windows, num_frames = crops.shape[:2]
        size = constant.shape[-1]
        # As published, all frames and windows share one noise draw.
        noise = window_noise(options.seed, 0, (1, self.codec.latent_channels, num_frames, size, size))
        with naming_memory_errors("the U-Net", self.device):
            latents = denoise(
                self.unet,
                build_scheduler(options.scheduler, options.timestep_spacing),
                noise.to(self.device).expand(num_windows, -1, -1, -1, -1),
                constant,
                audio,
                num_steps=options.num_inference_steps,
                guidance_scale=options.guidance_scale,
                guidance_interval=options.guidance_interval,
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
            # A small VAE shifts colours: with the demo VAE the step at the mask border is 0.63 of 255 levels before
            # matching and 0.02 after.
            images = match_colour(images, crops.flatten(0, 1))
        return list(images.unflatten(0, (num_windows, num_frames)))

    def _constant_channels(self, crops: Tensor, vae_batch_size: int, vae_noise: Sequence[torch.Generator]) -> Tensor:
        """Return mask, masked-image latents and reference latents as (b, 1 + 2 L, f, h, w).

        The reference image is the unmasked crop itself.

        Args:
            crops: (b, f, 3, R, R) in [-1, 1].
            vae_batch_size: images per VAE forward pass.
            vae_noise: one generator per window to sample its latents; if empty, the means are used.
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
            # Means are deterministic; on the demo, decoded samples and decoded means differ by 0.24 of 255 levels.
            masked = self.codec.encode(images * self._keep, vae_batch_size)
            reference = self.codec.encode(images, vae_batch_size)
        mask = self._latent_keep.expand(len(images), 1, -1, -1)
        channels = torch.cat((mask, masked.to(mask.dtype), reference.to(mask.dtype)), dim=1)
        check_finite(channels, "the VAE's latents of the video", self.codec.vae.dtype, self.files.vae)
        return channels.unflatten(0, (num_windows, num_frames)).transpose(1, 2)

    def _tokens(self, window: Window, features: FeatureRows, fps: Fraction) -> Tensor:
        frames = range(window.start, window.start + len(window.crops))
        return frame_tokens(features, frames, fps).to(self.device, self.unet.dtype)


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


def _vae_noise(windows: Sequence[Window], options: LipsyncOptions) -> list[torch.Generator]:
    """With `exact`, return one CPU generator per window, seeded by the seed and the position; else an empty list."""
    if not options.exact:
        return []
    seeds = (np.random.SeedSequence([options.seed, 1, window.start]).generate_state(1)[0] for window in windows)
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]
