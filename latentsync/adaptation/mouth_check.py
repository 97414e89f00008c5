"""Generate a person's mouth with given weights, for the footage's own and for foreign speech, and measure it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentsync.adaptation.check_videos import CheckVideo, Crops
from latentsync.adaptation.mouth_metrics import MouthMetrics, mean_metrics, measure_mouth
from latentsync.adaptation.mouth_readers import ReadMouths
from latentsync.adaptation.speech_bank import speech_mouths
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.errors import NonFiniteError
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import LatentCodec, load_vae
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.options import LipsyncOptions
from latentsync.pipelines.presets import find_preset
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import find_vae, locate

logger = logging.getLogger(__name__)

NUM_SHOWN = 8
"""Frames of each video on the contact sheet."""


@dataclass(frozen=True)
class CheckResult:
    """Metrics of one set of weights at one guidance scale.

    Attributes:
        guidance_scale: of the sampling.
        videos: metrics by the name of the video.
        shown: generated crops of the contact sheet by the name of the video.
        own: names of the videos that say what the footage says.
    """

    guidance_scale: float
    videos: Mapping[str, MouthMetrics]
    shown: Mapping[str, Crops]
    own: frozenset[str]

    def summary(self) -> dict[str, float]:
        """Return likeness on own speech, and everything else as the mean over foreign speech."""
        own = mean_metrics([self.videos[name] for name in self.own])
        foreign = mean_metrics([metrics for name, metrics in self.videos.items() if name not in self.own])
        return {name: own[name] for name in ("psnr_db", "ssim") if name in own} | foreign

    @property
    def opening(self) -> float:
        """Mean correlation of the opening with foreign speech."""
        return self.summary()["opening"]


class MouthCheck:
    """Checks weights on fixed videos.

    Args:
        run: configuration of the U-Net.
        options: sampling; the guidance scale is an argument of each check.
        videos: footage and speech.
        reader: reads mouths in crops.
        device, dtype: of the networks.
    """

    def __init__(
        self,
        run: UNetRun,
        options: LipsyncOptions,
        videos: Sequence[CheckVideo],
        reader: ReadMouths,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._run, self._options, self._videos, self._reader = run, options, videos, reader
        self._device = device
        self._load_networks(dtype)
        self._mouths = {video.name: reader(video.used_crops) for video in videos}

    def __call__(
        self,
        unet: Path,
        guidance_scale: float,
        progress: Callable[[int, int], None] = lambda done, total: None,
        decoder: Path | None = None,
    ) -> CheckResult:
        """Generate all videos with the weights of a file, and measure them; the arguments are those of `generate`.

        Where numbers overflow in half precision, this and all further checks use float32.
        """
        try:
            generated = self.generate(unet, guidance_scale, progress, decoder)
        except NonFiniteError as error:
            if self._dtype == torch.float32:
                raise
            logger.warning("the check is repeated in float32: %s", error)
            self._load_networks(torch.float32)
            generated = self.generate(unet, guidance_scale, progress, decoder)
        return self.measure(generated, guidance_scale)

    def generate(
        self,
        unet: Path,
        guidance_scale: float,
        progress: Callable[[int, int], None] = lambda done, total: None,
        decoder: Path | None = None,
    ) -> dict[str, Crops]:
        """Return generated crops by the name of the video.

        Args:
            unet: weights of the U-Net, or their low-rank changes.
            guidance_scale: of the sampling.
            progress: receives finished and all frames.
            decoder: weights that replace those of the VAE's decoder, or None.
        """
        run = self._run
        codec = self._codec if decoder is None else self._load_vae(decoder)
        network = load_unet(run.model, unet, self._device, self._dtype, run.data.resolution)
        synthesizer = WindowSynthesizer(network.requires_grad_(False), codec, run.data.resolution)
        options = replace(self._options, guidance_scale=guidance_scale)
        dubber = CropDubber(synthesizer, run.data.num_frames, run.data.video_fps, options)
        generated = {}
        done, total = 0, sum(video.num_frames for video in self._videos)
        progress(done, total)
        for video in self._videos:
            features = WhisperFeatures(self._encoder, ArraySamples(video.used_speech))
            advance = partial(_advance, progress, done, total)
            generated[video.name] = dubber(video.used_crops, features, advance)
            done += video.num_frames
        return generated

    def _load_networks(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._codec = self._load_vae(None)
        self._encoder = load_whisper_encoder(locate(self._run.audio.whisper), self._device, dtype)

    def measure(self, generated: Mapping[str, Crops], guidance_scale: float) -> CheckResult:
        """Return the metrics of generated crops; `guidance_scale` is noted in the result."""
        metrics = {}
        for video in self._videos:
            crops, expected = generated[video.name], speech_mouths(video.used_speech, video.num_frames)
            mouths = self._reader(crops), self._mouths[video.name]
            metrics[video.name] = measure_mouth(crops, video.used_crops, mouths, expected, video.is_own)
        shown = {name: crops[shown_frames(len(crops))] for name, crops in generated.items()}
        own = frozenset(video.name for video in self._videos if video.is_own)
        return CheckResult(guidance_scale, metrics, shown, own)

    def sheet_rows(self, results: Sequence[CheckResult]) -> list[Crops]:
        """Return rows of a contact sheet: for each video the footage, and below it every result."""
        rows = []
        for video in self._videos:
            columns = shown_frames(video.num_frames)
            rows += [video.crops[columns], *(result.shown[video.name] for result in results)]
        return rows

    def _load_vae(self, decoder: Path | None) -> LatentCodec:
        return load_vae(find_vae(self._run.vae), self._device, self._dtype, decoder)


def shown_frames(num_frames: int) -> NDArray[np.int64]:
    """Return the numbers of the frames on the contact sheet, equally spaced, without the first and the last one."""
    return np.linspace(0, num_frames - 1, NUM_SHOWN + 2).astype(np.int64)[1:-1]


def _advance(progress: Callable[[int, int], None], before: int, total: int, frames: int) -> None:
    progress(before + frames, total)


def sampling_options(run: UNetRun) -> LipsyncOptions:
    """Return the sampling that inference uses by default with a configuration."""
    options = LipsyncOptions(run.run.inference_steps, run.run.guidance_scale)
    return options if run.run.preset is None else replace(options, **find_preset(run.run.preset).options())
